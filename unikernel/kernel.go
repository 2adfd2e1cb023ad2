package unikernel

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"morgana/unikernel/internal/abi"
	"morgana/xen"
)

// ErrNotBooted says that the program runs on Linux, or on a kernel too old for what was asked.
var ErrNotBooted = errors.New("not booted by Morgana's kernel; build the program with stubdom")

// info asks the kernel once; what is in it does not change within a run of the program.
var info = sync.OnceValue(func() (in abi.Info) {
	_, _ = callInfo(&in)
	return in
})

// Booted reports whether the program is a domain of its own, on Morgana's kernel, rather than a process on Linux.
func Booted() bool { return info().Magic == abi.InfoMagic }

// OnXen reports whether that domain runs on Xen. It may be a bare virtual machine, which has no neighbours.
func OnXen() bool { return Booted() && info().OnXen != 0 }

// Generation is how often the program was restarted in place; 0 at its first start and on Linux.
func Generation() int { return int(info().Generation) }

// Machine is what the kernel knows of itself and its domain.
type Machine struct {
	Kernel string        // the kernel's name and version; "" on Linux
	Boot   time.Duration // from the kernel's first instruction to the program's entry
	Memory uint64        // RAM of the domain when it started, bytes
}

// Info describes the machine; all zero on Linux.
func Info() Machine {
	in := info()
	if !Booted() {
		return Machine{}
	}
	name, _, _ := bytes.Cut(in.Kernel[:], []byte{0})
	return Machine{Kernel: string(name), Boot: time.Duration(in.MainNS - in.BootNS), Memory: in.MaxPages * abi.Page}
}

// Uptime is the time since the kernel's first instruction; 0 on Linux.
func Uptime() time.Duration {
	if !Booted() {
		return 0
	}
	now, err := clock()
	if err != nil {
		return 0
	}
	return now - time.Duration(info().BootNS)
}

// Stats are counters of the kernel since the domain started.
type Stats struct {
	Syscalls, Interrupts, Faults, Switches uint64 // calls, interrupts, page faults, changes of thread
	TotalPages, FreePages, MinFreePages    uint64 // RAM now, free now, the least that was ever free
	VMAs, Threads, Files                   uint64 // in use now
	Hypercalls, Events                     uint64 // calls to Xen, events that went to the program
	ArenaPages, GrantsShared, GrantsMapped uint64 // in use now
	ParkedPages                            uint64 // given up by us, still mapped by a peer
}

// Counters reads the counters; all zero on Linux.
func Counters() Stats {
	var c abi.Counters
	if Booted() {
		_, _ = callCounters(&c)
	}
	return Stats(c)
}

// Entropy is the quality of the kernel's random numbers, which crypto/rand hands out.
type Entropy int

// From worst to best.
const (
	EntropyNone     Entropy = abi.EntropyNone     // only clocks: can be guessed; make no keys
	EntropySeed     Entropy = abi.EntropySeed     // a seed from the command line, or by AddSeed
	EntropyHardware Entropy = abi.EntropyHardware // the CPU's generator, or Linux's
)

func (e Entropy) String() string {
	switch e {
	case EntropyNone:
		return "none"
	case EntropySeed:
		return "seed"
	case EntropyHardware:
		return "hardware"
	}
	return fmt.Sprintf("entropy %d", int(e))
}

// EntropyQuality says how good random numbers are. On Linux, which waits until they are, it is EntropyHardware.
func EntropyQuality() Entropy {
	var in abi.Info
	if !Booted() {
		return EntropyHardware
	}
	_, _ = callInfo(&in) // it may have improved
	return Entropy(in.Entropy)
}

// AddSeed stirs 16 to 4096 secret, random bytes into the kernel's random state. On Linux it does nothing.
func AddSeed(seed []byte) error {
	if len(seed) < 16 || len(seed) > 4096 {
		return fmt.Errorf("unikernel: seed of %d bytes; want 16 to 4096", len(seed))
	}
	if !Booted() {
		return nil
	}
	_, err := callBytes(abi.SysSeed, seed)
	return fail("add a seed", err)
}

// DebugLog writes s, up to 4096 bytes, to Xen's log (xl dmesg), even when the console is stuck. On Linux it does
// nothing.
func DebugLog(s string) {
	if Booted() && s != "" {
		_, _ = callBytes(abi.SysDebugLog, []byte(s))
	}
}

// XenVersion asks the hypervisor for its version: the cheapest hypercall.
func XenVersion() (major, minor int, err error) {
	if !OnXen() {
		return 0, 0, ErrNotBooted
	}
	const xenVersion = 17 // __HYPERVISOR_xen_version, XENVER_version
	v, err := call(abi.SysHypercall, xenVersion, 0, 0)
	return int(v >> 16), int(v & 0xffff), fail("ask for Xen's version", err)
}

// Reason is why a domain ends, as Xen and its tools are told (sched.h, SHUTDOWN_*).
type Reason int

// The reasons.
const (
	PowerOff Reason = 0
	Reboot   Reason = 1
	Suspend  Reason = 2
	Crash    Reason = 3
)

// Shutdown ends the domain at once, without running deferred calls; it returns only if that fails. Suspend is
// different: the domain stops a moment later, and goes on when it is restored.
func Shutdown(reason Reason) error {
	_, err := call(abi.SysShutdown, uintptr(reason), 0, 0)
	return fail("shut down", err)
}

// Balloon gives memory back to Xen until the domain has no more than target bytes, as far as pages are free. It
// returns what the domain has then. Memory does not come back.
func Balloon(target uint64) (have uint64, err error) {
	kib, err := call(abi.SysBalloon, uintptr(target/1024), 0, 0)
	return uint64(kib) * 1024, fail("balloon", err)
}

// SetLimits tells the Go runtime how large the domain is: the heap grows to 80 % of what is free now before the
// collector works harder, and a goroutine's stack to a quarter before the program ends with a stack overflow instead
// of running out of memory. On Linux it does nothing.
func SetLimits() {
	if !Booted() {
		return
	}
	free := Counters().FreePages * abi.Page
	debug.SetMemoryLimit(int64(free / 10 * 8))
	debug.SetMaxStack(int(free / 4))
}

// Restart starts the program again in place. It returns only where that is impossible.
func Restart() error {
	_, err := call(abi.SysRestart, 0, 0, 0)
	return fail("restart", err)
}

// RestartOnFatal says what happens when the program dies of a panic, a fatal error or with an exit status: a restart
// in place, or, which is the default, the end of the domain. A restart resets it: call it first thing in main.
func RestartOnFatal(on bool) error {
	var v uintptr
	if on {
		v = 1
	}
	_, err := call(abi.SysOnFatal, v, 0, 0)
	return fail("choose restart on fatal errors", err)
}

// KeepEvent lets the event channel at port, which this program made, survive restarts in place, or not any more.
// After a restart devxen's Domain.Adopt takes it over. Keep the number of the port in an arena.
func KeepEvent(port xen.Port, keep bool) error {
	var v uintptr
	if keep {
		v = 1
	}
	_, err := call(abi.SysEventKeep, uintptr(port), v, 0)
	return fail(fmt.Sprintf("keep port %d", port), err)
}

// fail makes an error of the kernel's say what was to be done.
func fail(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSYS):
		return fmt.Errorf("unikernel: %s: %w", what, ErrNotBooted)
	}
	return fmt.Errorf("unikernel: %s: %w", what, err)
}
