package main

// Life of the domain: what the tool stack asks for through xenstore (docs/misc/xenstore-paths.pandoc, control/shutdown
// and memory/target), the program's end, suspend and resume.

var (
	terminating     bool   // the tool stack asked for the end
	terminateReason uint32 // … and how
	suspendWanted   bool
	targetFirst     uint64 // memory/target when the domain started, KiB
)

const (
	lifePath   = "control/shutdown"
	targetPath = "memory/target"
	lifeToken  = "unikernel"
)

// startLife tells the tool stack what it may ask for.
func startLife() {
	watchLife()
	ownRequestSend(xsWrite, "control/feature-poweroff", "", "1")
	ownRequestSend(xsWrite, "control/feature-reboot", "", "1")
	ownRequestSend(xsWrite, "control/feature-suspend", "", "1")
}

func watchLife() {
	ownRequestSend(xsWatch, lifePath, lifeToken, "")
	ownRequestSend(xsWatch, targetPath, lifeToken, "")
}

// lifeEvent takes a watch event (path, token) if it is the kernel's.
func lifeEvent(p uintptr, n int) bool {
	i := 0
	for i < n && *p8(p + uintptr(i)) != 0 {
		i++
	}
	tok := i + 1
	if tok+len(lifeToken) > n || !equals(p+uintptr(tok), n-tok, lifeToken) {
		return false
	}
	if i > 0 && *p8(p + uintptr(i) - 1) == 'n' { // …/shutdown
		ownRequestSend(xsRead, lifePath, "", "")
	} else {
		ownRequestSend(xsRead, targetPath, "", "")
	}
	return true
}

// equals compares n bytes at p, up to a zero byte, with s.
func equals(p uintptr, n int, s string) bool {
	for i := 0; i < len(s); i++ {
		if i >= n || *p8(p + uintptr(i)) != s[i] {
			return false
		}
	}
	return n == len(s) || *p8(p + uintptr(len(s))) == 0
}

// lifeReply takes the answer to a read.
func lifeReply(op uint32, which byte, p uintptr, n int) {
	if op != xsRead || n == 0 {
		return
	}
	if which&0x7f == 'm' {
		balloonTo(p, n)
		return
	}
	switch {
	case equals(p, n, "poweroff"), equals(p, n, "halt"):
		terminate(shutdownPoweroff)
	case equals(p, n, "reboot"):
		terminate(shutdownReboot)
	case equals(p, n, "suspend"):
		suspendWanted = true
	default:
		return
	}
	ownRequestSend(xsWrite, lifePath, "", "") // acknowledged
}

// terminate asks the program to end, as init does with SIGTERM.
func terminate(reason uint32) {
	terminating, terminateReason = true, reason
	if sigActions[sigTERM].handler <= 1 {
		consoleFlush()
		shutdownDomain(reason)
	}
	killProcess(sigTERM)
}

// exitProgram ends the domain as the program's exit status says.
func exitProgram(status int32) {
	if terminating {
		shutdownDomain(terminateReason)
	}
	if status == 0 {
		shutdownDomain(shutdownPoweroff)
	}
	putString("morgana: exit status ")
	putDec(uint64(uint32(status)))
	putString("\n")
	programDied()
}

// programDied restarts the program in place or crashes the domain.
func programDied() {
	if restartOnFatal && !terminating {
		restart("the program died")
	}
	shutdownDomain(shutdownCrash)
}

// balloonTo obeys memory/target downwards.
func balloonTo(p uintptr, n int) {
	kib := uint64(0)
	for i := 0; i < n; i++ {
		c := *p8(p + uintptr(i))
		if c < '0' || c > '9' || kib > 1<<40 {
			return
		}
		kib = kib*10 + uint64(c-'0')
	}
	if targetFirst == 0 {
		targetFirst = kib // the watch fires once when it is set
		return
	}
	if kib < targetFirst {
		balloon((targetFirst - kib) / 4)
	}
}

// balloon gives free pages back to Xen until `want` have been given in all; how many have.
func balloon(want uint64) uint64 {
	for ballooned < want && haveRoom(512) {
		k := 0
		for ; k < maxGrantBatch && ballooned+uint64(k) < want && haveRoom(512); k++ {
			grantOps[k] = uint64(allocPage() >> 12)
		}
		// struct xen_memory_reservation: extent_start, nr_extents, order + flags, domid
		hyperArgs[0], hyperArgs[1], hyperArgs[2], hyperArgs[3] = uint64(addrOf64(&grantOps[0])), uint64(k), 0, domSelf
		r := hyper(hvMemoryOp, memDecreaseReservation, hyperArg(), 0)
		for j := int(max(r, 0)); j < k; j++ {
			freePage(uintptr(grantOps[j]) << 12)
		}
		if r <= 0 {
			break
		}
		ballooned += uint64(r)
		totalPages -= uint64(r)
	}
	return ballooned
}

// suspendDomain stops the domain as `xl save` asks and, when it runs again, binds to Xen anew.
func suspendDomain() {
	suspendWanted = false
	consoleFlush()
	stopped := nanotime()
	hyperArgs[0] = shutdownSuspend
	if r := hyper(hvSchedOp, schedShutdown, hyperArg(), 0); r != 0 {
		armedFor = 0
		return // cancelled: the same domain goes on, nothing has changed
	}
	// A new domain: event channels, shared info and the grant table are as at its start.
	for p := range portOwner {
		portOwner[p] = portNone
	}
	for w := range portPend {
		portPend[w], portKeep[w] = 0, 0
	}
	for i := range files {
		if files[i].kind == kindEvtchn {
			files[i].count = 0
		}
	}
	storeLost()
	storeRing = 0
	connectXen()
	reconnectGrants()
	clockBase, lastTime = 0, 0
	clockBase = stopped - nanotime()
	vdsoClockBase()
	lastTime = 0
	armedFor = 0
	setupRandom() // the same file may be restored twice
	startLife()
	targetFirst = 0
}

// sysShutdown serves abi.SysShutdown.
func sysShutdown(reason uintptr) uint64 {
	switch reason {
	case shutdownPoweroff, shutdownReboot, shutdownCrash:
		shutdownDomain(uint32(reason))
	case shutdownSuspend:
		if !onXen {
			return errno(enosys)
		}
		suspendWanted = true
		return 0
	}
	return errno(einval)
}
