package main

var (
	nSyscalls   uint64
	nInterrupts uint64
)

// trap handles an exception or interrupt that hit the running thread; its registers are saved.
func trap() {
	t := threadAt(current)
	if trapVec >= 32 {
		nInterrupts++
		stirRandom(rdtsc())
		pollEvents()
		profileTick(t)
		schedule()
		return
	}
	switch trapVec {
	case 14: // #PF
		addr := readCR2()
		if pageFault(addr, trapErr) {
			return
		}
		if oomNow {
			oomNow = false
			faultSignal(t, sigABRT, siTKill, 0) // Go prints every goroutine
			break
		}
		code := int32(1) // SEGV_MAPERR
		if trapErr&faultPresent != 0 {
			code = 2 // SEGV_ACCERR
		}
		faultSignal(t, sigSEGV, code, addr)
	case 13, 12: // #GP, #SS
		faultSignal(t, sigSEGV, siKernel, 0)
	case 0, 16, 19: // #DE, #MF, #XM
		faultSignal(t, sigFPE, 1, uintptr(t.rip))
	case 6: // #UD
		faultSignal(t, sigILL, 2, uintptr(t.rip))
	case 3, 1: // #BP, #DB
		faultSignal(t, sigTRAP, siKernel, 0)
	case 17: // #AC
		faultSignal(t, sigBUS, 1, 0)
	case 7: // #NM
		faultSignal(t, sigFPE, 0, uintptr(t.rip))
	default:
		putString("morgana: unexpected exception ")
		putDec(trapVec)
		putString("\n")
		die("the CPU reports a fault that no program causes")
	}
	schedule()
}

// kernelBug ends the domain: an exception in ring 0.
func kernelBug() {
	putString("morgana: kernel exception ")
	putDec(trapVec)
	putString(" error ")
	putHex(trapErr)
	putString(" rip ")
	putHex(trapRip)
	putString(" cr2 ")
	putHex(uint64(readCR2()))
	putString("\n")
	die("a bug in the kernel, please report it with the line above")
}

// die says why and crashes the domain.
func die(why string) {
	putString("morgana: ")
	putString(why)
	putString("\n")
	shutdownDomain(shutdownCrash)
}
