package main

import "unsafe"

// Threads, limits and what the system says of itself.

const (
	cloneThread       = 0x10000
	cloneSetTLS       = 0x80000
	cloneParentSetTID = 0x100000
	cloneChildClear   = 0x200000
	cloneChildSetTID  = 0x1000000
)

func sysClone(t *thread, flags, stack, childTID, tls uintptr) uint64 {
	if flags&cloneThread == 0 {
		return errno(eperm) // a process
	}
	if flags&cloneSetTLS != 0 && tls >= userTop {
		return errno(eperm)
	}
	if freePages <= oomKeep {
		return errno(eagain)
	}
	n := newThread()
	if n == nil {
		return errno(eagain)
	}
	move(n.addr(), t.addr(), 18*8) // the registers
	n.rax, n.rsp = 0, uint64(stack)
	n.sigmask, n.fs = t.sigmask, t.fs
	if flags&cloneSetTLS != 0 {
		n.fs = uint64(tls)
	}
	if flags&cloneChildClear != 0 {
		n.tidClear = childTID
	}
	if flags&cloneParentSetTID != 0 {
		userStore32(uintptr(t.rdx), uint32(n.tid))
	}
	if flags&cloneChildSetTID != 0 {
		userStore32(childTID, uint32(n.tid))
	}
	runQueue.pushBack(n)
	n.queue = qRun
	return n.tid
}

func sysExitThread(t *thread) uint64 {
	if t.tidClear != 0 {
		userStore32(t.tidClear, 0)
		futexWakeN(t.tidClear, 1, 0xffffffff)
	}
	freeThread(t)
	if nlive == 0 {
		exitProgram(0)
	}
	schedule()
	return resultSet
}

func sysArchPrctl(t *thread, op, a uintptr) uint64 {
	switch op {
	case 0x1002: // ARCH_SET_FS
		if a >= userTop {
			return errno(eperm)
		}
		t.fs = uint64(a)
		return 0
	case 0x1003: // ARCH_GET_FS
		if !userStore64(a, t.fs) {
			return errno(efault)
		}
		return 0
	}
	return errno(einval)
}

func sysUname(buf uintptr) uint64 {
	var b [6 * 65]byte
	for i, s := range [...]string{"Linux", "morgana", "6.1.0-morgana", "#1", "x86_64"} {
		for k := 0; k < len(s); k++ {
			b[i*65+k] = s[k]
		}
	}
	if !userCopyOut(buf, addrOf8(&b[0]), unsafe.Sizeof(b)) {
		return errno(efault)
	}
	return 0
}

func sysGetrlimit(buf uintptr) uint64 {
	if !userStore64s(buf, maxFDs, maxFDs) {
		return errno(efault)
	}
	return 0
}

func sysGetrusage(buf uintptr) uint64 {
	var b [18]uint64
	n := uint64(nanotime() - bootTime)
	b[0], b[1] = n/1e9, n%1e9/1000
	b[4] = (totalPages - minFree) * 4
	b[8] = nFaults
	if !userCopyOut(buf, addrOf64(&b[0]), unsafe.Sizeof(b)) {
		return errno(efault)
	}
	return 0
}

func sysSysinfo(buf uintptr) uint64 {
	var b [14]uint64
	b[0] = uint64(nanotime()-bootTime) / 1e9
	b[4], b[5] = totalPages*pageSize, freePages*pageSize
	b[10] = nlive
	b[13] = 1 // mem_unit
	if !userCopyOut(buf, addrOf64(&b[0]), unsafe.Sizeof(b)) {
		return errno(efault)
	}
	return 0
}

func sysIoctl(fd, cmd, arg uintptr) uint64 {
	i := fileOf(fd)
	if i < 0 {
		return errno(ebadf)
	}
	switch files[i].kind {
	case kindEvtchn:
		return evtchnIoctl(i, cmd&0xffffffff, arg)
	case kindGntdev:
		return gntdevIoctl(cmd&0xffffffff, arg)
	case kindGntalloc:
		return gntallocIoctl(cmd&0xffffffff, arg)
	}
	return errno(enotty)
}

func debugLog(buf, n uintptr) uint64 {
	for i := uintptr(0); i < min(n, 4096); i++ {
		p := userPtr(buf+i, false)
		if p == 0 {
			return errno(efault)
		}
		outb(debugPort, *p8(p))
	}
	return 0
}

func sysSeed(buf, n uintptr) uint64 {
	if n < 16 || n > 4096 {
		return errno(einval)
	}
	for i := uintptr(0); i+8 <= n; i += 8 {
		v, ok := userLoad64(buf + i)
		if !ok {
			return errno(efault)
		}
		seedRandom(v, entropyNone)
	}
	entropy = max(entropy, entropySeed)
	return 0
}

// sysHypercall passes on the hypercalls that name no memory of ours: XENVER_version and sched yield, which measure
// what a hypercall costs.
func sysHypercall(nr, op uintptr) uint64 {
	if !onXen {
		return errno(enosys)
	}
	if nr == hvXenVersion && op == 0 || nr == hvSchedOp && op == schedYield {
		return uint64(hyper(nr, op, 0, 0))
	}
	return errno(enosys)
}

// domctlVersion is XEN_DOMCTL_INTERFACE_VERSION: Xen 4.17's, until Xen says that it has another.
var domctlVersion uint64 = 0x15

// sysDomain asks Xen for another domain's flags (domctl.h, struct xen_domctl_getdomaininfo).
func sysDomain(dom uintptr) uint64 {
	if !onXen {
		return errno(enosys)
	}
	const getDomainInfo, first, last = 5, 0x12, 0x20
	try := func() int64 {
		hyperArgs[0], hyperArgs[1] = getDomainInfo|domctlVersion<<32, uint64(uint16(dom))
		return hyper(hvDomctl, hyperArg(), 0, 0)
	}
	r := try()
	if was := domctlVersion; r == -eacces {
		for domctlVersion = first; r == -eacces && domctlVersion < last; {
			domctlVersion++
			r = try()
		}
		if r == -eacces {
			domctlVersion = was
		}
	}
	if r != 0 {
		return uint64(r)
	}
	if uint16(hyperArgs[2]) != uint16(dom) { // Xen before 4.18: the next one that there is
		return errno(esrch)
	}
	return hyperArgs[2] >> 32
}
