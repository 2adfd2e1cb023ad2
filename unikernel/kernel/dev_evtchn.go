package main

import "unsafe"

// /dev/xen/evtchn: event channels for the program, with Linux's calls (include/uapi/xen/evtchn.h). A port that fired
// is masked until the program writes it back, so that a peer cannot keep us busy.

const (
	portNone   = 0
	portKernel = 1
	portKept   = 2 // survives a restart; waits for a file
	portFile   = 3 // + index of the evtchn file

	evtchnBindVIRQ        = 4<<16 | 'E'<<8 | 0
	evtchnBindInterdomain = 8<<16 | 'E'<<8 | 1
	evtchnBindUnbound     = 4<<16 | 'E'<<8 | 2
	evtchnUnbind          = 4<<16 | 'E'<<8 | 3
	evtchnNotify          = 4<<16 | 'E'<<8 | 4
	evtchnReset           = 0<<16 | 'E'<<8 | 5
)

var (
	portOwner [maxPorts]uint16
	portPend  [maxPorts / 64]uint64 // fired, not read yet
	portKeep  [maxPorts / 64]uint64 // SysEventKeep
	nEvents   uint64
)

// evtchnOpen opens the device; the first file takes the channels kept over a restart.
func evtchnOpen(flags uint32) uint64 {
	f, fd := fileOpen(kindEvtchn, flags)
	if isErr(fd) {
		return fd
	}
	for p := range portOwner {
		if portOwner[p] == portKept {
			portOwner[p] = portFile + uint16(f)
			if portPend[p/64]&(1<<(p%64)) != 0 {
				files[f].count++
			}
		}
	}
	return fd
}

// evtchnRelease closes what file i bound but for the kept ports.
func evtchnRelease(i int) {
	for p := range portOwner {
		if portOwner[p] == portFile+uint16(i) {
			portRelease(uint32(p))
		}
	}
}

func portRelease(p uint32) {
	if portKeep[p/64]&(1<<(p%64)) != 0 {
		portOwner[p] = portKept
		return
	}
	portClose(p)
}

func portClose(p uint32) {
	hyperArgs[0] = uint64(p)
	hyper(hvEventOp, eventClose, hyperArg(), 0)
	portOwner[p] = portNone
	portPend[p/64] &^= 1 << (p % 64)
	portKeep[p/64] &^= 1 << (p % 64)
}

// userEvent notes that a port of the program's fired.
func userEvent(port uint32) {
	nEvents++
	if defective("lose-events") && nEvents%7 == 0 {
		return
	}
	mask := sharedInfo + 0xa00 + uintptr(port/64)*8
	for {
		v := *p64(mask)
		if cas64(mask, v, v|1<<(port%64)) {
			break
		}
	}
	o := portOwner[port]
	if o == portNone || portPend[port/64]&(1<<(port%64)) != 0 {
		return
	}
	portPend[port/64] |= 1 << (port % 64)
	if o >= portFile {
		files[o-portFile].count++
		fileChanged(int(o - portFile))
	}
}

// evtchnRead gives the program the ports that fired, u32 each.
func evtchnRead(i int, buf, n uintptr) uint64 {
	if n < 4 {
		return errno(einval)
	}
	k := uintptr(0)
	for w := range portPend {
		pend := portPend[w]
		for b := uint32(0); pend != 0 && k+4 <= n; b++ {
			p := uint32(w)*64 + b
			if pend&1 != 0 && portOwner[p] == portFile+uint16(i) {
				if !userStore32(buf+k, p) {
					return errno(efault)
				}
				portPend[w] &^= 1 << b
				files[i].count--
				k += 4
			}
			pend >>= 1
		}
		if files[i].count == 0 {
			break
		}
	}
	return uint64(k)
}

// evtchnWrite unmasks the ports that the program has dealt with.
func evtchnWrite(i int, buf, n uintptr) uint64 {
	for k := uintptr(0); k+4 <= n; k += 4 {
		p, ok := userLoad32(buf + k)
		if !ok {
			return errno(efault)
		}
		if p < maxPorts && portOwner[p] == portFile+uint16(i) {
			portUnmask(p)
		}
	}
	return uint64(n &^ 3)
}

// portUnmask is EVTCHNOP_unmask without the hypercall: there is one CPU, so what came for this port while it was masked
// can be taken here. For this one alone: whoever takes the timer's event must go through schedule.
func portUnmask(p uint32) {
	w, bit := uintptr(p/64)*8, uint64(1)<<(p%64)
	clearBits(sharedInfo+0xa00+w, bit)
	if clearBits(sharedInfo+0x800+w, bit) {
		userEvent(p)
	}
}

// clearBits clears bits of a word that Xen shares with us, and reports whether one of them was set.
func clearBits(word uintptr, bits uint64) bool {
	for {
		v := *p64(word)
		if cas64(word, v, v&^bits) {
			return v&bits != 0
		}
	}
}

func evtchnIoctl(i int, cmd, arg uintptr) uint64 {
	var a [2]uint32
	if size := cmd >> 16; size > 8 || !userCopyIn(uintptr(unsafe.Pointer(&a)), arg, size) {
		return errno(efault)
	}
	switch cmd {
	case evtchnBindVIRQ:
		if a[0] == 0 {
			return errno(eexist) // the timer is the kernel's
		}
		hyperArgs[0], hyperArgs[1] = uint64(a[0]), 0
		return portBound(i, hyper(hvEventOp, eventBindVIRQ, hyperArg(), 0), uint32(hyperArgs[1]))
	case evtchnBindInterdomain:
		hyperArgs[0], hyperArgs[1] = uint64(a[0]&0xffff)|uint64(a[1])<<32, 0
		return portBound(i, hyper(hvEventOp, eventBindInterdomain, hyperArg(), 0), uint32(hyperArgs[1]))
	case evtchnBindUnbound:
		hyperArgs[0] = domSelf | uint64(a[0]&0xffff)<<16
		return portBound(i, hyper(hvEventOp, eventAllocUnbound, hyperArg(), 0), uint32(hyperArgs[0]>>32))
	case evtchnUnbind, evtchnNotify:
		p := a[0]
		if p >= maxPorts || portOwner[p] != portFile+uint16(i) {
			return errno(enotconn)
		}
		if cmd == evtchnNotify {
			return uint64(eventNotify(p))
		}
		if portPend[p/64]&(1<<(p%64)) != 0 {
			files[i].count--
		}
		portClose(p)
		return 0
	case evtchnReset:
		for p := range portOwner {
			if portOwner[p] == portFile+uint16(i) {
				portClose(uint32(p))
			}
		}
		files[i].count = 0
		return 0
	}
	return errno(enotty)
}

// portBound enters a new port; r is what the hypercall said.
func portBound(i int, r int64, port uint32) uint64 {
	if r != 0 {
		return uint64(r)
	}
	if port >= maxPorts {
		return errno(enospc)
	}
	portOwner[port] = portFile + uint16(i)
	portPend[port/64] &^= 1 << (port % 64)
	portUnmask(port)
	return uint64(port)
}
