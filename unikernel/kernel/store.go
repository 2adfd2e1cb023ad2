package main

// The connection to xenstored (io/xs_wire.h): one ring, shared by the kernel's own few requests (life.go) and the
// program's files (dev_xenbus.go). A message goes into the ring whole before another begins. Requests carry numbers
// of ours, by which a reply finds its way back: the kernel's have the top bit, the files' are indexes into requests.

const (
	storeRingSize = 1024
	storeReqCons  = 0x800
	storeReqProd  = 0x804
	storeRspCons  = 0x808
	storeRspProd  = 0x80c

	storeHeader  = 16
	storePayload = 4096

	xsRead             = 2
	xsWatch            = 4
	xsUnwatch          = 5
	xsTransactionStart = 6
	xsTransactionEnd   = 7
	xsWrite            = 11
	xsWatchEvent       = 15
	xsResetWatches     = 21

	ownRequest  = 1 << 31
	maxRequests = 128

	sendNone = 0
	sendOwn  = -1
)

// A request is one that a file made and that has no reply yet.
type request struct {
	conn uint32 // index + 1, 0: free
	id   uint32 // the program's number
}

var (
	storeRing uintptr // kernel address, 0: there is none
	storePort uint32

	rxMsg [storeHeader + storePayload]byte
	rxLen int

	ownMsg          [1024]byte // the kernel's requests, whole ones
	ownLen, ownSent int

	sending      int // whose message is on its way into the ring: a connection's index + 1, or one of send…
	sendTurn     int // the connection that sent last
	requests     [maxRequests]request
	requestTurn  int
	storePumping bool
)

func storeConnect(pfn uintptr, port uint32) {
	if pfn == 0 || port == 0 || port >= maxPorts {
		return
	}
	storeRing, storePort = directMap+pfn*pageSize, port
	portOwner[port] = portKernel
	eventUnmaskPort(port)
}

// ownRequestSend queues a request of the kernel's: up to two strings with a zero byte each, and a last without.
func ownRequestSend(op uint32, a, b, last string) {
	need := storeHeader + len(a) + len(b) + len(last) + 2
	if storeRing == 0 || ownLen+need > len(ownMsg) {
		return
	}
	h := ownLen
	ownLen += storeHeader
	ownString(a, true)
	if b != "" {
		ownString(b, true)
	}
	ownString(last, false)
	p := addrOf8(&ownMsg[h])
	*p32(p), *p32(p + 4), *p32(p + 8), *p32(p + 12) = op, ownRequest, 0, uint32(ownLen-h-storeHeader)
	if op == xsRead {
		*p32(p + 4) |= uint32(a[0]) // tells the replies apart: 'c'ontrol, 'm'emory
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
	if sending == sendNone {
		if sending = sendOwn; ownLen == 0 {
			sending = connNext()
		}
	}
	switch sending {
	case sendNone:
		return false
	case sendOwn:
		n := ringPush(addrOf8(&ownMsg[0])+uintptr(ownSent), ownLen-ownSent)
		if ownSent += n; ownSent == ownLen {
			ownLen, ownSent, sending = 0, 0, sendNone
		}
		return n > 0
	}
	return connSend(&conns[sending-1])
}

// requestNew numbers a request of connection c; false when too many are under way.
func requestNew(c int, id uint32) (uint32, bool) {
	for i := 0; i < maxRequests; i++ {
		k := (requestTurn + i) % maxRequests
		if requests[k].conn == 0 {
			requests[k] = request{conn: uint32(c + 1), id: id}
			requestTurn = k + 1
			return uint32(k), true
		}
	}
	return 0, false
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

// storeDeliver sends a whole message where it belongs; false: its file has no room for it.
func storeDeliver() bool {
	h := addrOf8(&rxMsg[0])
	op, id := *p32(h), *p32(h + 4)
	if op == xsWatchEvent {
		return lifeEvent(h+storeHeader, rxLen-storeHeader) || connEvent()
	}
	if id&ownRequest != 0 {
		lifeReply(op, byte(id), h+storeHeader, rxLen-storeHeader)
		return true
	}
	if id >= maxRequests || requests[id].conn == 0 {
		return true
	}
	return connReply(int(id))
}

// storeLost forgets the connection and tells the files that it is gone.
func storeLost() {
	rxLen, ownLen, ownSent, sending = 0, 0, 0, sendNone
	for i := range requests {
		requests[i] = request{}
	}
	connsLost()
}
