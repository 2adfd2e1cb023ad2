package main

import "unsafe"

// Signals: faults, Go's preemption (SIGURG), CPU profiles (SIGPROF), SIGTERM from the tool stack.

const (
	sigILL  = 4
	sigTRAP = 5
	sigABRT = 6
	sigBUS  = 7
	sigFPE  = 8
	sigSEGV = 11
	sigPIPE = 13
	sigTERM = 15
	sigCHLD = 17
	sigCONT = 18
	sigURG  = 23
	sigPROF = 27
	sigWNCH = 28

	saOnStack = 0x08000000
	saNoDefer = 0x40000000
	saReset   = 0x80000000

	siKernel = 0x80
	siTKill  = -6

	ssDisable = 2
)

// sigaction is the kernel's view of struct kernel_sigaction.
type sigaction struct{ handler, flags, restorer, mask uint64 }

var (
	sigActions [65]sigaction
	procPend   uint64 // signals for the process as a whole
)

// sigFrame is what a handler finds on its stack: Linux's struct rt_sigframe, with the FP state after it.
type sigFrame struct {
	restorer uint64
	ucFlags  uint64
	ucLink   uint64
	altSP    uint64
	altFlags uint64
	altSz    uint64
	regs     [18]uint64 // as in thread
	csgsfs   uint64
	err      uint64
	trapno   uint64
	oldmask  uint64
	cr2      uint64
	fpstate  uint64
	fpvalid  uint64 // reserved1[0]: ours
	_        [7]uint64
	mask     uint64
	_        [15]uint64
	info     [16]uint64
}

// faultSignal delivers what an exception means; a program that cannot take it ends.
func faultSignal(t *thread, sig uint64, code int32, addr uintptr) {
	a := &sigActions[sig]
	if a.handler <= 1 || t.sigmask&(1<<(sig-1)) != 0 {
		fatalSignal(t, sig, addr)
		return
	}
	pushSignal(t, sig, code, addr, trapErr, trapVec)
}

// fatalSignal ends the program as the signal's default action does.
func fatalSignal(t *thread, sig uint64, addr uintptr) {
	putString("morgana: killed by signal ")
	putDec(sig)
	putString(", rip ")
	putHex(t.rip)
	putString(", rsp ")
	putHex(t.rsp)
	if addr != 0 {
		putString(", address ")
		putHex(uint64(addr))
	}
	putString("\n")
	programDied()
}

// deliverPending makes t enter the handler of a signal that waits for it.
func deliverPending(t *thread) {
	for {
		p := (t.sigpend | procPend) &^ t.sigmask
		if p == 0 {
			return
		}
		s := uint64(1)
		for p&1 == 0 {
			p >>= 1
			s++
		}
		t.sigpend &^= 1 << (s - 1)
		procPend &^= 1 << (s - 1)
		h := sigActions[s].handler
		if h == 1 || h == 0 && (s == sigURG || s == sigCHLD || s == sigWNCH || s == sigCONT) {
			continue
		}
		if h == 0 {
			if s == sigTERM && terminating {
				exitProgram(0)
				return
			}
			fatalSignal(t, s, 0)
			return
		}
		pushSignal(t, s, siTKill, 0, 0, 0)
		return
	}
}

// sendSignal marks sig for t and ends what t is blocked in.
func sendSignal(t *thread, sig uint64) {
	t.sigpend |= 1 << (sig - 1)
	interrupt(t)
}

// interrupt ends t's blocking call if a signal is to be delivered.
func interrupt(t *thread) {
	if t.state <= stRunnable || (t.sigpend|procPend)&^t.sigmask == 0 {
		return
	}
	switch t.state {
	case stFile: // starts again by itself
	case stFutex, stSleep, stEpoll, stForever:
		t.rax = errno(eintr)
	}
	ready(t, false)
}

// killProcess sends sig to the program: to a thread that does not block it, the running one first.
func killProcess(sig uint64) {
	procPend |= 1 << (sig - 1)
	if threadAt(current).state == stRunnable && threadAt(current).sigmask&(1<<(sig-1)) == 0 {
		return
	}
	for i := 0; i < nthreads; i++ {
		t := threadAt(threads[i])
		if t.state != stFree && t.sigmask&(1<<(sig-1)) == 0 {
			interrupt(t)
			return
		}
	}
}

func pushSignal(t *thread, sig uint64, code int32, addr uintptr, err, vec uint64) {
	act := &sigActions[sig]
	sp := uintptr(t.rsp) - 128 // the red zone
	onAlt := t.rsp > t.altSP && t.rsp <= t.altSP+t.altSz
	if act.flags&saOnStack != 0 && t.altFlags&ssDisable == 0 && t.altSz != 0 && !onAlt {
		sp = uintptr(t.altSP + t.altSz)
	}
	fp := (sp - fpSize) &^ 63
	f := (fp-unsafe.Sizeof(sigFrame{}))&^15 - 8
	if sp < userLow || sp > userTop || f < userLow || f > fp {
		badStack(t, sig)
		return
	}
	var fr sigFrame
	fr.restorer = act.restorer
	fr.altSP, fr.altFlags, fr.altSz = t.altSP, t.altFlags, t.altSz
	move(uintptr(unsafe.Pointer(&fr.regs)), t.addr(), 18*8)
	fr.csgsfs = selUserData<<48 | selUserCode
	fr.err, fr.trapno, fr.cr2 = err, vec, uint64(addr)
	fr.fpvalid = t.fpvalid
	if t.fpvalid != 0 {
		fr.fpstate = uint64(fp)
		if !userCopyOut(fp, t.fpAddr(), fpSize) {
			badStack(t, sig)
			return
		}
	}
	fr.mask = t.sigmask
	if t.savedMask != 0 {
		fr.mask = t.savedMask &^ (1 << 63)
		t.savedMask = 0
	}
	fr.info[0] = sig
	fr.info[1] = uint64(uint32(code))
	fr.info[2] = uint64(addr)
	if code == siTKill {
		fr.info[2] = 1 // si_pid: ourselves
	}
	if !userCopyOut(f, uintptr(unsafe.Pointer(&fr)), unsafe.Sizeof(fr)) {
		badStack(t, sig)
		return
	}
	t.sigmask |= act.mask
	if act.flags&saNoDefer == 0 {
		t.sigmask |= 1 << (sig - 1)
	}
	t.rip, t.rsp = act.handler, uint64(f)
	if act.flags&saReset != 0 {
		act.handler = 0
	}
	t.rdi = sig
	t.rsi = uint64(f + unsafe.Offsetof(fr.info))
	t.rdx = uint64(f + unsafe.Offsetof(fr.ucFlags))
	t.rax = 0
	t.rflags = 0x202
	t.fpvalid = 0
	if t.rip >= userTop {
		badStack(t, sig)
	}
}

// badStack ends a program whose signal stack cannot be written, as Linux does.
func badStack(t *thread, sig uint64) {
	putString("morgana: no usable stack for a signal handler\n")
	fatalSignal(t, sig, uintptr(t.rsp))
}

// sigReturn restores what pushSignal saved. All of it comes from the program: what the CPU would refuse in ring 0 is
// made harmless here.
func sigReturn(t *thread) uint64 {
	var fr sigFrame
	f := uintptr(t.rsp) - 8 // the restorer popped its own address
	if !userCopyIn(uintptr(unsafe.Pointer(&fr)), f, unsafe.Sizeof(fr)) || fr.regs[16] >= userTop {
		badFrame(t)
		return resultSet
	}
	move(t.addr(), uintptr(unsafe.Pointer(&fr.regs)), 18*8)
	t.rflags = t.rflags&0x240cd5 | 0x202 // arithmetic flags, DF, AC, ID; IF on; never IOPL, NT, TF
	t.sigmask = fr.mask
	t.fpvalid = 0
	if fr.fpvalid != 0 {
		if !userCopyIn(t.fpAddr(), uintptr(fr.fpstate), fpSize) {
			badFrame(t)
			return resultSet
		}
		t.fpvalid = 1
		sanitiseFP(t.fpAddr())
	}
	deliverPending(t)
	return resultSet
}

func badFrame(t *thread) {
	putString("morgana: bad signal frame\n")
	fatalSignal(t, sigSEGV, uintptr(t.rsp))
}

// sanitiseFP makes an XSAVE image one that XRSTOR takes without a fault (SDM vol. 1, 13.8.1): only bits of MXCSR that
// the CPU has, only enabled states, standard format, reserved bytes zero.
func sanitiseFP(a uintptr) {
	*p32(a + 24) &= mxcsrMask
	if !useXsave {
		return
	}
	*p64(a + 512) &= xcr0
	for i := uintptr(520); i < 576; i += 8 {
		*p64(a + i) = 0
	}
}

// mxcsrMask: the bits that every CPU with SSE2 and DAZ has.
const mxcsrMask = 0xffff

func sysSigaction(sig, act, old, size uintptr) uint64 {
	if sig == 0 || sig > 64 || size != 8 || (sig == 9 || sig == 19) && act != 0 {
		return errno(einval)
	}
	a := &sigActions[sig]
	if old != 0 && !userCopyOut(old, uintptr(unsafe.Pointer(a)), 32) {
		return errno(efault)
	}
	var n sigaction
	if act != 0 {
		if !userCopyIn(uintptr(unsafe.Pointer(&n)), act, 32) {
			return errno(efault)
		}
		*a = n
	}
	return 0
}

func sysSigprocmask(t *thread, how, set, old uintptr) uint64 {
	was := t.sigmask
	if set != 0 {
		m, ok := userLoad64(set)
		if !ok {
			return errno(efault)
		}
		m &^= 1<<8 | 1<<18 // SIGKILL, SIGSTOP
		switch how {
		case 0:
			t.sigmask |= m
		case 1:
			t.sigmask &^= m
		case 2:
			t.sigmask = m
		default:
			return errno(einval)
		}
	}
	if old != 0 && !userStore64(old, was) {
		return errno(efault)
	}
	t.rax = 0
	deliverPending(t)
	return resultSet
}

func sysSigaltstack(t *thread, ss, old uintptr) uint64 {
	was := [3]uint64{t.altSP, t.altFlags, t.altSz}
	var n [3]uint64
	if ss != 0 && !userCopyIn(uintptr(unsafe.Pointer(&n)), ss, 24) {
		return errno(efault)
	}
	if old != 0 && !userCopyOut(old, uintptr(unsafe.Pointer(&was)), 24) {
		return errno(efault)
	}
	if ss == 0 {
		return 0
	}
	if n[1]&ssDisable == 0 && (n[2] < 2048 || !userRange(uintptr(n[0]), uintptr(n[2]))) {
		return errno(enomem)
	}
	t.altSP, t.altFlags, t.altSz = n[0], n[1]&0xffffffff, n[2]
	return 0
}

func sysTgkill(t *thread, tid, sig uint64) uint64 {
	if sig > 64 {
		return errno(einval)
	}
	w := threadByTID(tid)
	if w == nil {
		return errno(esrch)
	}
	if sig == 0 {
		return 0
	}
	sendSignal(w, sig)
	if w == t {
		t.rax = 0
		deliverPending(t)
		return resultSet
	}
	return 0
}

func sysKill(t *thread, pid int32, sig uint64) uint64 {
	if sig > 64 {
		return errno(einval)
	}
	if pid != 1 && pid != 0 && pid != -1 {
		return errno(esrch)
	}
	if sig == 0 {
		return 0
	}
	t.rax = 0
	killProcess(sig)
	deliverPending(t)
	return resultSet
}

// restoreMask puts back the signal mask that an epoll_pwait or ppoll replaced.
func restoreMask(t *thread) {
	if t.savedMask != 0 {
		t.sigmask = t.savedMask &^ (1 << 63)
		t.savedMask = 0
	}
}
