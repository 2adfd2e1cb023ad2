package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"morgana/unikernel/internal/abi"
)

// A SyscallReport says which Linux system calls a program's code can make, as far as the code tells.
//
// A Go program has a few SYSCALL instructions: in assembly of the runtime, each with a constant number, and in one
// function that gets the number as its first argument. What is found are the constants at the former and at the calls of
// the latter and of the functions of packages syscall and golang.org/x/sys/unix that pass the number on. A number that
// is computed is not found; the functions that compute one are listed. That a call is in the code does not mean that it
// is ever made.
type SyscallReport struct {
	Method   string        `json:"method"`             // how they were found
	Sites    int           `json:"sites"`              // places that make a system call
	Computed []string      `json:"computed,omitempty"` // functions, or addresses, whose number is not a constant
	Calls    []SyscallUsed `json:"calls"`
}

// A SyscallUsed is one system call that a program can make.
type SyscallUsed struct {
	Number int      `json:"number"`
	Name   string   `json:"name"`
	Kernel string   `json:"kernel"` // SyscallServed, SyscallRefused or SyscallMissing
	From   []string `json:"from"`   // functions that make it, or addresses
}

// What the kernel does with a system call.
const (
	SyscallServed  = "implemented"
	SyscallRefused = "refused" // with the error that fits: what it needs is not there
	SyscallMissing = "missing" // ENOSYS, and a line on the console
)

// Missing are the calls that the kernel does not know.
func (r *SyscallReport) Missing() (list []SyscallUsed) {
	for _, c := range r.Calls {
		if c.Kernel == SyscallMissing {
			list = append(list, c)
		}
	}
	return list
}

// passOn are the functions that take the number of a system call as their first argument, without the vendor/ and
// generation-specific part of their package's path.
var passOn = []string{
	"internal/runtime/syscall/linux.Syscall6", "internal/runtime/syscall.Syscall6", "runtime/internal/syscall.Syscall6",
	"syscall.Syscall", "syscall.Syscall6", "syscall.RawSyscall", "syscall.RawSyscall6", "syscall.rawSyscallNoError", "syscall.rawVforkSyscall",
	"golang.org/x/sys/unix.Syscall", "golang.org/x/sys/unix.Syscall6", "golang.org/x/sys/unix.SyscallNoError",
	"golang.org/x/sys/unix.RawSyscall", "golang.org/x/sys/unix.RawSyscall6", "golang.org/x/sys/unix.RawSyscallNoError",
	"syscall.AllThreadsSyscall", "syscall.AllThreadsSyscall6",
	"syscall.runtime_doAllThreadsSyscall", "runtime.doAllThreadsSyscall",
}

func passesOn(name string) bool {
	name = strings.TrimSuffix(name, ".abi0")
	return slices.Contains(passOn, name) || slices.ContainsFunc(passOn, func(p string) bool { return strings.HasSuffix(name, "/vendor/"+p) || name == "vendor/"+p })
}

// syscallsOf looks for the system calls in a program's code.
func syscallsOf(b []byte, f *elf.File, fns []function, isImage bool) *SyscallReport {
	s := &syscallSearch{calls: map[int]map[string]bool{}, computed: map[string]bool{}, targets: map[uint64]bool{}}
	for _, fn := range fns {
		if passesOn(fn.name) {
			s.targets[fn.start] = true
		}
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 || p.Vaddr >= kernelHalf || isImage && p.Vaddr == abi.Base {
			continue // data, the kernel, the boot pages
		}
		code := content(b, p)
		if len(fns) == 0 {
			s.plain(code, p.Vaddr)
			continue
		}
		for _, i := range s.candidates(code, p.Vaddr, fns) {
			fn := fns[i]
			lo, hi := fn.start-p.Vaddr, min(fn.end-p.Vaddr, uint64(len(code)))
			s.function(fn, code[lo:hi])
		}
	}
	r := &SyscallReport{Method: "constants at the SYSCALL instructions and at the calls of functions that pass a number on", Sites: s.sites, Computed: slices.Sorted(maps.Keys(s.computed)), Calls: []SyscallUsed{}}
	if len(fns) == 0 {
		r.Method = "constants right before SYSCALL instructions: no Go program, or a damaged table of functions"
	}
	for nr, from := range s.calls {
		u := SyscallUsed{Number: nr, Name: cmp.Or(linuxSyscalls[nr], "unknown"), Kernel: SyscallMissing, From: slices.Sorted(maps.Keys(from))}
		if Syscalls[nr] != "" {
			u.Kernel = SyscallServed
		} else if refusedSyscalls[nr] != "" {
			u.Kernel = SyscallRefused
		}
		r.Calls = append(r.Calls, u)
	}
	slices.SortFunc(r.Calls, func(a, b SyscallUsed) int { return cmp.Compare(a.Number, b.Number) })
	return r
}

type syscallSearch struct {
	targets  map[uint64]bool // where functions that pass a number on begin
	sites    int
	calls    map[int]map[string]bool
	computed map[string]bool
}

// maxNumber bounds what can be the number of a system call of Linux.
const maxNumber = 1 << 12

func (s *syscallSearch) found(number int64, from string) {
	s.sites++
	if number < 0 || number >= maxNumber {
		s.computed[from] = true
		return
	}
	if s.calls[int(number)] == nil {
		s.calls[int(number)] = map[string]bool{}
	}
	s.calls[int(number)][from] = true
}

// candidates are the indexes of the functions that have the bytes of a SYSCALL or of a jump or call to a target.
func (s *syscallSearch) candidates(code []byte, at uint64, fns []function) []int {
	hit := map[int]bool{}
	for i := 0; i+1 < len(code); i++ {
		switch {
		case code[i] == 0x0f && code[i+1] == 0x05:
		case (code[i] == 0xe8 || code[i] == 0xe9) && i+5 <= len(code) && s.targets[at+uint64(i)+5+uint64(int64(int32(binary.LittleEndian.Uint32(code[i+1:]))))]:
		default:
			continue
		}
		a := at + uint64(i)
		n, ok := slices.BinarySearchFunc(fns, a, func(f function, a uint64) int { return cmp.Compare(f.start, a) })
		if !ok {
			n--
		}
		if n >= 0 && a < fns[n].end && fns[n].start >= at {
			hit[n] = true
		}
	}
	return slices.Sorted(maps.Keys(hit))
}

// function follows constants through the function's code, in the order of the addresses: where branches meet, the last
// one written counts. Go's compiler writes a constant argument in front of its call.
func (s *syscallSearch) function(fn function, code []byte) {
	var c constants
	for i := 0; i < len(code); {
		in, err := x86asm.Decode(code[i:], 64)
		if err != nil || in.Len == 0 {
			i++
			c = constants{}
			continue
		}
		next := fn.start + uint64(i+in.Len)
		i += in.Len
		number, makes := int64(-1), false
		switch in.Op {
		case x86asm.SYSCALL:
			number, makes = c.regs[0].value(), true
		case x86asm.CALL, x86asm.JMP:
			if rel, ok := in.Args[0].(x86asm.Rel); ok && s.targets[next+uint64(int64(rel))] {
				// Go passes the first argument in RAX, to assembly at the top of the stack.
				number, makes = c.stack.value(), true
				if number < 0 {
					number = c.regs[0].value()
				}
			}
		}
		if makes && (number >= 0 || !passesOn(fn.name)) {
			s.found(number, fn.name)
		}
		c.after(in)
	}
}

// A constant is the value of a register or of a word of the stack, if it is known.
type constant struct {
	v     int64
	known bool
}

func (c constant) value() int64 {
	if c.known && c.v >= 0 {
		return c.v
	}
	return -1
}

// constants are what is known of the registers, in the CPU's order, and of the word at the top of the stack.
type constants struct {
	regs  [16]constant
	stack constant
}

// register is the number of the register that holds r, and whether a write to r sets all of it.
func register(r x86asm.Reg) (n int, whole bool) {
	switch {
	case r >= x86asm.RAX && r <= x86asm.R15:
		return int(r - x86asm.RAX), true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return int(r - x86asm.EAX), true
	case r >= x86asm.AX && r <= x86asm.R15W:
		return int(r - x86asm.AX), false
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return int(r-x86asm.SPB) + 4, false
	case r >= x86asm.AL && r <= x86asm.BH:
		return int(r-x86asm.AL) % 4, false
	}
	return -1, false
}

// after brings what is known up to date with an instruction.
func (c *constants) after(in x86asm.Inst) {
	switch in.Op {
	case x86asm.CALL:
		*c = constants{}
		return
	case x86asm.CMP, x86asm.TEST, x86asm.BT, x86asm.NOP, x86asm.JMP:
		return
	case x86asm.PUSH, x86asm.POP:
		c.stack = constant{}
	case x86asm.SYSCALL, x86asm.MUL, x86asm.IMUL, x86asm.DIV, x86asm.IDIV, x86asm.CDQE, x86asm.CQO, x86asm.CDQ,
		x86asm.CPUID, x86asm.RDTSC, x86asm.XGETBV, x86asm.CMPXCHG, x86asm.LODSB, x86asm.LODSQ:
		c.regs[0], c.regs[1], c.regs[2], c.regs[3] = constant{}, constant{}, constant{}, constant{}
	case x86asm.XCHG, x86asm.XADD:
		c.set(in.Args[1], constant{})
	}
	to := in.Args[0]
	switch {
	case in.Op == x86asm.MOV:
		c.set(to, c.get(in.Args[1]))
	case in.Op == x86asm.XOR && to == in.Args[1]:
		c.set(to, constant{known: true})
	case in.Op == x86asm.MOVUPS && in.Args[1] == x86asm.X15: // which is zero in Go's code
		c.set(to, constant{known: true})
	default:
		c.set(to, constant{})
	}
}

func (c *constants) get(a x86asm.Arg) constant {
	switch a := a.(type) {
	case x86asm.Imm:
		return constant{int64(a), true}
	case x86asm.Reg:
		if n, whole := register(a); n >= 0 && whole {
			return c.regs[n]
		}
	}
	return constant{}
}

func (c *constants) set(a x86asm.Arg, v constant) {
	switch a := a.(type) {
	case x86asm.Reg:
		n, whole := register(a)
		if n < 0 {
			return
		}
		if !whole {
			v = constant{}
		}
		if c.regs[n] = v; n == 4 { // RSP: another word is at the top
			c.stack = constant{}
		}
	case x86asm.Mem:
		if a.Base == x86asm.RSP && a.Index == 0 && a.Disp == 0 {
			c.stack = v
		}
	}
}

// plain looks for SYSCALL in code without functions; the number is the constant that was moved to EAX just before.
func (s *syscallSearch) plain(code []byte, at uint64) {
	const near = 16 // bytes
	for i := 0; ; {
		k := bytes.Index(code[i:], []byte{0x0f, 0x05})
		if k < 0 {
			return
		}
		i += k
		number := int64(-1)
		for j := i - 5; j >= max(i-near, 0); j-- {
			if code[j] == 0xb8 { // mov eax, imm32
				number = int64(binary.LittleEndian.Uint32(code[j+1:]))
				break
			}
		}
		s.found(number, fmt.Sprintf("%#x", at+uint64(i)))
		i += 2
	}
}
