package main

// The xenstore ring (io/xs_wire.h) and /dev/xen/xenbus over it. The kernel keeps the ring: its own requests carry
// request numbers with the top bit set, its watches a token of its own; everything else is the program's. One file at
// a time may be open.

const (
	storeRingSize = 1024
	storeReqCons  = 0x800
	storeReqProd  = 0x804
	storeRspCons  = 0x808
	storeRspProd  = 0x80c

	storeHeader  = 16
	storePayload = 4096

	xsRead         = 2
	xsWatch        = 4
	xsWrite        = 11
	xsWatchEvent   = 15
	xsResetWatches = 21

	ownRequest = 1 << 31
)

var (
	storeRing   uintptr // kernel address, 0: there is none
	storePort   uint32
	storeFile   int  // index of the program's file + 1
	storeBroken bool // the connection was lost under the program: its file gives EIO until closed

	rxMsg [storeHeader + storePayload]byte
	rxLen int

	txMsg         [storeHeader + storePayload]byte // what the program is writing
	txLen, txSent int
	txPending     bool // whole, on its way into the ring

	ownMsg          [1024]byte // the kernel's requests, whole ones
	ownLen, ownSent int

	outQueue       [16 << 10]byte // replies and events for the program
	outHead, outTo uint64

	storePumping bool

	outstanding int // the program's requests without a reply yet
	drain       int // replies to drop: their file was closed
)

func storeConnect(pfn uintptr, port uint32) {
	if pfn == 0 || port == 0 || port >= maxPorts {
		return
	}
	storeRing, storePort = directMap+pfn*pageSize, port
	portOwner[port] = portKernel
	eventUnmaskPort(port)
}

func storeOpen(flags uint32) uint64 {
	if storeRing == 0 {
		return errno(enxio)
	}
	if storeFile != 0 {
		return errno(ebusy)
	}
	i, fd := fileOpen(kindXenbus, flags)
	if !isErr(fd) {
		storeFile = i + 1
		outHead, outTo, txLen, txSent = 0, 0, 0, 0
		storeBroken = false
	}
	return fd
}

// storeProgramGone forgets what the program had on the connection.
func storeProgramGone() {
	storeFile = 0
	drain += outstanding
	outstanding = 0
	if txPending { // half of it may be in the ring: it must go out whole
		drain++
	}
	ownRequestSend(xsResetWatches, "", "", "")
	watchLife()
}

func storeReadable() bool { return outHead != outTo || storeBroken }

func storeRead(buf, n uintptr) uint64 {
	if storeBroken {
		return errno(eio)
	}
	done := uintptr(0)
	for done < n && outHead != outTo {
		o := uintptr(outHead % uint64(len(outQueue)))
		k := min(n-done, uintptr(outTo-outHead), uintptr(len(outQueue))-o)
		if !userCopyOut(buf+done, addrOf8(&outQueue[o]), k) {
			return errno(efault)
		}
		outHead += uint64(k)
		done += k
	}
	storePump()
	return uint64(done)
}

// storeWrite takes the program's bytes; a message goes out once it is whole.
func storeWrite(t *thread, i int, buf, n uintptr) uint64 {
	if storeBroken {
		return errno(eio)
	}
	if txPending {
		storePump()
	}
	if txPending {
		if files[i].flags&oNonblock != 0 {
			return errno(eagain)
		}
		return waitForFile(t, i, 0)
	}
	done := uintptr(0)
	for done < n && !txPending {
		want := storeHeader
		if txLen >= storeHeader {
			want += int(*p32(addrOf8(&txMsg[12])))
		}
		k := min(n-done, uintptr(want-txLen))
		if !userCopyIn(addrOf8(&txMsg[0])+uintptr(txLen), buf+done, k) {
			return errno(efault)
		}
		txLen += int(k)
		done += k
		if txLen < storeHeader {
			continue
		}
		if size := *p32(addrOf8(&txMsg[12])); size > storePayload || *p32(addrOf8(&txMsg[4]))&ownRequest != 0 {
			txLen = 0
			return errno(einval)
		} else if txLen == storeHeader+int(size) {
			txPending = true
			outstanding++
			storePump()
		}
	}
	return uint64(done)
}

// ownRequestSend queues a request of the kernel's: up to two strings with a zero byte each, and a last without.
func ownRequestSend(op uint32, a, b, last string) {
	need := storeHeader + len(a) + len(b) + len(last) + 2
	if storeRing == 0 || ownLen+need > len(ownMsg) {
		return
	}
	h := ownLen
	ownLen += storeHeader
	if op == xsResetWatches {
		ownMsg[ownLen] = 0
		ownLen++
	} else {
		ownString(a, true)
		if b != "" {
			ownString(b, true)
		}
		ownString(last, false)
	}
	p := addrOf8(&ownMsg[h])
	*p32(p), *p32(p + 4), *p32(p + 8), *p32(p + 12) = op, ownRequest|op, 0, uint32(ownLen-h-storeHeader)
	if op == xsRead {
		*p32(p + 4) |= uint32(a[0]) << 8 // tells the replies apart: 'c'ontrol, 'm'emory
	}
	storePump()
}

func ownString(s string, zeroed bool) {
	for i := 0; i < len(s); i++ {
		ownMsg[ownLen] = s[i]
		ownLen++
	}
	if zeroed {
		ownMsg[ownLen] = 0
		ownLen++
	}
}

// storePump moves what it can in both directions.
func storePump() {
	if storePumping { // a message that is being delivered leads to another
		return
	}
	storePumping = true
	moved := false
	for storeRing != 0 && (storeSend() || storeReceive()) {
		moved = true
	}
	storePumping = false
	if moved && storeRing != 0 {
		eventNotify(storePort)
	}
}

// ringPush copies bytes to the request ring; how many it took.
func ringPush(src uintptr, n int) int {
	prod, cons := *p32(storeRing + storeReqProd), load32(storeRing+storeReqCons)
	if prod-cons > storeRingSize {
		return 0
	}
	n = min(n, int(storeRingSize-(prod-cons)))
	for i := 0; i < n; i++ {
		*p8(storeRing + uintptr((prod+uint32(i))%storeRingSize)) = *p8(src + uintptr(i))
	}
	if n > 0 {
		xchg32(storeRing+storeReqProd, prod+uint32(n))
	}
	return n
}

func storeSend() bool {
	// A message that is half out goes first.
	if ownLen > 0 && txSent == 0 {
		n := ringPush(addrOf8(&ownMsg[0])+uintptr(ownSent), ownLen-ownSent)
		if ownSent += n; ownSent == ownLen {
			ownLen, ownSent = 0, 0
		}
		return n > 0
	}
	if !txPending {
		return false
	}
	n := ringPush(addrOf8(&txMsg[0])+uintptr(txSent), txLen-txSent)
	if txSent += n; txSent == txLen {
		txLen, txSent, txPending = 0, 0, false
		if storeFile != 0 {
			fileChanged(storeFile - 1)
		}
	}
	return n > 0
}

// storeReceive takes bytes of one message from the ring; false when there is nothing or no room for it.
func storeReceive() bool {
	want := storeHeader
	if rxLen >= storeHeader {
		size := *p32(addrOf8(&rxMsg[12]))
		if size > storePayload {
			putString("morgana: xenstored sent a message that is too long; the connection is given up\n")
			storeLost()
			storeRing = 0
			return false
		}
		want += int(size)
		if rxLen == want {
			if !storeDeliver() {
				return false
			}
			rxLen = 0
			return true
		}
	}
	cons, prod := *p32(storeRing + storeRspCons), load32(storeRing+storeRspProd)
	if prod == cons || prod-cons > storeRingSize {
		return false
	}
	n := min(want-rxLen, int(prod-cons))
	for i := 0; i < n; i++ {
		rxMsg[rxLen+i] = *p8(storeRing + storeRingSize + uintptr((cons+uint32(i))%storeRingSize))
	}
	xchg32(storeRing+storeRspCons, cons+uint32(n))
	rxLen += n
	return true
}

// storeDeliver sends a whole message where it belongs; false: the program's queue is full.
func storeDeliver() bool {
	h := addrOf8(&rxMsg[0])
	op, id := *p32(h), *p32(h + 4)
	if op == xsWatchEvent {
		if lifeEvent(h+storeHeader, rxLen-storeHeader) {
			return true
		}
	} else if id&ownRequest != 0 {
		lifeReply(op, byte(id>>8), h+storeHeader, rxLen-storeHeader)
		return true
	} else if drain > 0 {
		drain--
		return true
	}
	if storeFile == 0 {
		return true
	}
	if int(outTo-outHead)+rxLen > len(outQueue) {
		return false
	}
	if op != xsWatchEvent {
		outstanding--
	}
	for i := 0; i < rxLen; i++ {
		outQueue[outTo%uint64(len(outQueue))] = rxMsg[i]
		outTo++
	}
	fileChanged(storeFile - 1)
	return true
}

func storeEvent() { storePump() }

// storeLost tells the program that its connection is gone; it opens the device again.
func storeLost() {
	rxLen, txLen, txSent, txPending, ownLen, ownSent = 0, 0, 0, false, 0, 0
	outHead, outTo, outstanding, drain = 0, 0, 0, 0
	if storeFile != 0 {
		storeBroken = true
		fileChanged(storeFile - 1)
	}
}
