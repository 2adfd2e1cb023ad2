package main

// /dev/xen/xenbus: the program's connections to xenstored, as Linux's device of that name: what is written is requests,
// what is read is replies and watch events, and closing a file ends its watches and transactions. Xenstored knows one
// connection, so a watch's token carries the number of its file on the way, and each file has a book of its watches.

const (
	maxConns    = 8
	maxConnTxns = 16
	tokenPrefix = 5  // bytes: "%04x:"
	maxOutPages = 64 // what a file may have unread; more holds up everything else that xenstored says

	outHeader  = 8 // next page
	bookHeader = 8 // u32 bytes used; u32 of padding
	bookPages  = 8
)

// States of a connection.
const (
	connFree = iota
	connOpen
	connBroken  // the ring was lost: reads and writes give EIO
	connClosing // the file is closed; its watches and transactions are being ended
)

type storeConn struct {
	state    uint32
	file     int
	number   uint32     // in tokens: unlike those of the connections before it
	tx       [2]uintptr // kernel addresses: the message that is being written
	txLen    int
	txSent   int
	txReady  bool // whole
	inFlight int

	outHead, outTail uintptr // chain of pages
	readAt, writeAt  uintptr // offsets in the first and the last
	outBytes         int
	outPages         int

	book  [bookPages]uintptr // pages of {u16 length, payload of UNWATCH}
	txns  [maxConnTxns]uint32
	nTxns int
}

var (
	conns      [maxConns]storeConn
	connNumber uint32
	connEvents uint32
)

func storeOpen(flags uint32) uint64 {
	if storeRing == 0 {
		return errno(enxio)
	}
	if !haveRoom(2) {
		return errno(enomem)
	}
	for k := range conns {
		c := &conns[k]
		if c.state != connFree {
			continue
		}
		i, fd := fileOpen(kindXenbus, flags)
		if isErr(fd) {
			return fd
		}
		connNumber++
		*c = storeConn{state: connOpen, file: i, number: connNumber & 0xffff}
		c.tx[0], c.tx[1] = directMap+allocPage(), directMap+allocPage()
		files[i].pipe = uint32(k)
		return fd
	}
	return errno(ebusy)
}

// storeClose is the end of file i.
func storeClose(i int) {
	k := int(files[i].pipe)
	c := &conns[k]
	if c.state == connBroken {
		connRelease(c)
		return
	}
	c.state = connClosing
	if !c.txReady {
		c.txLen = 0
	}
	connDropOut(c)
	storePump()
}

func connRelease(c *storeConn) {
	connDropOut(c)
	freePage(c.tx[0] - directMap)
	freePage(c.tx[1] - directMap)
	for i := range c.book {
		if c.book[i] != 0 {
			freePage(c.book[i] - directMap)
		}
	}
	*c = storeConn{}
}

// connsLost marks every connection as gone.
func connsLost() {
	for k := range conns {
		switch c := &conns[k]; c.state {
		case connOpen:
			c.state = connBroken
			c.txLen, c.txSent, c.txReady, c.inFlight = 0, 0, false, 0
			fileChanged(c.file)
		case connClosing:
			connRelease(c)
		}
	}
}

func storeReadable(i int) bool {
	c := &conns[files[i].pipe]
	return c.outBytes > 0 || c.state == connBroken
}

func storeRead(i int, buf, n uintptr) uint64 {
	c := &conns[files[i].pipe]
	if c.state == connBroken {
		return errno(eio)
	}
	done := uintptr(0)
	for done < n && c.outBytes > 0 {
		if c.readAt == pageSize {
			next := uintptr(*p64(c.outHead))
			connDropPage(c, next)
		}
		k := min(n-done, uintptr(c.outBytes), pageSize-c.readAt)
		if !userCopyOut(buf+done, c.outHead+c.readAt, k) {
			if done == 0 {
				return errno(efault)
			}
			break
		}
		c.readAt += k
		c.outBytes -= int(k)
		done += k
	}
	if c.outBytes == 0 {
		connDropOut(c)
	}
	storePump()
	return uint64(done)
}

func connDropPage(c *storeConn, next uintptr) {
	freePage(c.outHead - directMap)
	c.outHead, c.readAt = next, outHeader
	c.outPages--
}

// connDropOut empties the queue of what is to be read.
func connDropOut(c *storeConn) {
	for c.outHead != 0 {
		connDropPage(c, uintptr(*p64(c.outHead)))
	}
	c.outTail, c.outBytes = 0, 0
}

// connPut queues n bytes for the program. connRoom has said that there is room.
func connPut(c *storeConn, src uintptr, n int) {
	for n > 0 {
		if c.outTail == 0 || c.writeAt == pageSize {
			p := directMap + allocPage()
			if c.outTail == 0 {
				c.outHead, c.readAt = p, outHeader
			} else {
				*p64(c.outTail) = uint64(p)
			}
			c.outTail, c.writeAt = p, outHeader
			c.outPages++
		}
		k := min(uintptr(n), pageSize-c.writeAt)
		move(c.outTail+c.writeAt, src, k)
		c.writeAt += k
		c.outBytes += int(k)
		src += k
		n -= int(k)
	}
}

// connRoom reports whether a message can be queued.
func connRoom(c *storeConn) bool { return c.outPages+2 <= maxOutPages && haveRoom(2) }

// storeWrite takes the program's bytes; a message goes out once it is whole.
func storeWrite(t *thread, i int, buf, n uintptr) uint64 {
	k := int(files[i].pipe)
	c := &conns[k]
	if c.state == connBroken {
		return errno(eio)
	}
	if c.txReady {
		storePump()
	}
	if c.txReady {
		if files[i].flags&oNonblock != 0 {
			return errno(eagain)
		}
		return waitForFile(t, i, 0)
	}
	done := uintptr(0)
	for done < n && !c.txReady {
		want := storeHeader
		if c.txLen >= storeHeader {
			want += int(*p32(c.tx[0] + 12))
		}
		at := uintptr(c.txLen)
		part := min(n-done, uintptr(want-c.txLen), pageSize-at&pageMask)
		if !userCopyIn(c.txByte(c.txLen), buf+done, part) {
			return errno(efault)
		}
		c.txLen += int(part)
		done += part
		if c.txLen < storeHeader {
			continue
		}
		if size := *p32(c.tx[0] + 12); size > storePayload {
			c.txLen = 0
			return errno(einval)
		} else if c.txLen == storeHeader+int(size) {
			if !connSubmit(c) {
				c.txLen = 0
				return errno(einval)
			}
			storePump()
		}
	}
	return uint64(done)
}

// txByte is where byte i of the message is.
func (c *storeConn) txByte(i int) uintptr {
	return c.tx[i>>12] + uintptr(i)&pageMask
}

// connSubmit makes a whole message ready to go; false if it cannot be one.
func connSubmit(c *storeConn) bool {
	switch *p32(c.tx[0]) {
	case xsWatch, xsUnwatch:
		tok := storeHeader
		for tok < c.txLen && *p8(c.txByte(tok)) != 0 {
			tok++
		}
		if tok++; tok >= c.txLen {
			break // no token: xenstored refuses it
		}
		if c.txLen+tokenPrefix > storeHeader+storePayload {
			return false
		}
		for i := c.txLen - 1; i >= tok; i-- {
			*p8(c.txByte(i + tokenPrefix)) = *p8(c.txByte(i))
		}
		for i := 0; i < tokenPrefix; i++ {
			*p8(c.txByte(tok + i)) = prefixByte(c.number, i)
		}
		c.txLen += tokenPrefix
		*p32(c.tx[0] + 12) += tokenPrefix
		bookErase(c)
		if *p32(c.tx[0]) == xsWatch {
			bookAdd(c)
		}
	case xsResetWatches:
		return false // it would end the watches of the kernel and of the other files
	case xsTransactionEnd:
		id := *p32(c.tx[0] + 8)
		for i := 0; i < c.nTxns; i++ {
			if c.txns[i] == id {
				c.nTxns--
				c.txns[i] = c.txns[c.nTxns]
				break
			}
		}
	}
	c.txReady = true
	return true
}

// prefixByte is byte i of the prefix of a connection's tokens.
func prefixByte(number uint32, i int) byte {
	if i == tokenPrefix-1 {
		return ':'
	}
	return "0123456789abcdef"[number>>(12-4*i)&15]
}

// connNext finds the connection whose message goes next, and numbers the message; for `sending`.
func connNext() int {
	for i := 1; i <= maxConns; i++ {
		k := (sendTurn + i) % maxConns
		c := &conns[k]
		if c.state == connClosing && !c.txReady {
			connEndOne(c)
		}
		if !c.txReady || c.state != connOpen && c.state != connClosing {
			continue
		}
		id, ok := requestNew(k, *p32(c.tx[0] + 4))
		if !ok {
			return sendNone
		}
		*p32(c.tx[0] + 4) = id
		c.inFlight++
		sendTurn = k
		return k + 1
	}
	return sendNone
}

// connEndOne writes the next request that ends something of a closed file; when nothing is left, the connection is free.
func connEndOne(c *storeConn) {
	h := c.tx[0]
	*p32(h + 4), *p32(h + 8) = 0, 0
	for i := range c.book {
		page := c.book[i]
		if page == 0 || *p32(page) == 0 {
			continue
		}
		n := int(*p16(page + bookHeader))
		for k := 0; k < n; k++ {
			*p8(c.txByte(storeHeader + k)) = *p8(page + bookHeader + 2 + uintptr(k))
		}
		bookCut(page, bookHeader)
		*p32(h), *p32(h + 12) = xsUnwatch, uint32(n)
		c.txLen, c.txReady = storeHeader+n, true
		return
	}
	if c.nTxns > 0 {
		c.nTxns--
		*p32(h), *p32(h + 8), *p32(h + 12) = xsTransactionEnd, c.txns[c.nTxns], 2
		*p16(h + storeHeader) = 'F'
		c.txLen, c.txReady = storeHeader+2, true
		return
	}
	if c.inFlight == 0 {
		connRelease(c)
	}
}

// connSend moves a part of c's message into the ring.
func connSend(c *storeConn) bool {
	n := ringPush(c.txByte(c.txSent), min(c.txLen-c.txSent, pageSize-c.txSent&pageMask))
	if c.txSent += n; c.txSent == c.txLen {
		c.txLen, c.txSent, c.txReady = 0, 0, false
		sending = sendNone
		if c.state == connOpen {
			fileChanged(c.file)
		}
	}
	return n > 0
}

// connReply gives the message in rxMsg to the file that asked.
func connReply(id int) bool {
	r := &requests[id]
	c := &conns[r.conn-1]
	h := addrOf8(&rxMsg[0])
	if c.state == connOpen {
		if !connRoom(c) {
			return false
		}
		*p32(h + 4) = r.id
		connPut(c, h, rxLen)
		fileChanged(c.file)
	}
	if *p32(h) == xsTransactionStart && c.nTxns < maxConnTxns {
		n := uint32(0)
		for i := storeHeader; i < rxLen && rxMsg[i] >= '0' && rxMsg[i] <= '9'; i++ {
			n = n*10 + uint32(rxMsg[i]-'0')
		}
		c.txns[c.nTxns] = n
		c.nTxns++
	}
	r.conn = 0
	c.inFlight--
	return true
}

// connEvent gives the watch event in rxMsg to the file whose number its token begins with.
func connEvent() bool {
	if connEvents++; defective("watch-lost") && connEvents%7 == 0 {
		return true
	}
	tok := storeHeader
	for tok < rxLen && rxMsg[tok] != 0 {
		tok++
	}
	if tok++; tok+tokenPrefix > rxLen {
		return true
	}
	for k := range conns {
		c := &conns[k]
		match := c.state == connOpen
		for i := 0; match && i < tokenPrefix; i++ {
			match = rxMsg[tok+i] == prefixByte(c.number, i)
		}
		if !match {
			continue
		}
		if !connRoom(c) {
			return false
		}
		h := addrOf8(&rxMsg[0])
		*p32(h + 12) -= tokenPrefix
		connPut(c, h, tok)
		connPut(c, h+uintptr(tok+tokenPrefix), rxLen-tok-tokenPrefix)
		fileChanged(c.file)
		break
	}
	return true
}

// bookAdd notes the watch that the message asks for. What finds no room stays with xenstored until the domain ends.
func bookAdd(c *storeConn) {
	n := uintptr(c.txLen - storeHeader)
	for i := range c.book {
		if c.book[i] == 0 {
			if !haveRoom(1) {
				return
			}
			c.book[i] = directMap + allocPage()
		}
		page := c.book[i]
		at := bookHeader + uintptr(*p32(page))
		if at+2+n > pageSize {
			continue
		}
		*p16(page + at) = uint16(n)
		for k := uintptr(0); k < n; k++ {
			*p8(page + at + 2 + k) = *p8(c.txByte(storeHeader + int(k)))
		}
		*p32(page) += uint32(2 + n)
		return
	}
}

// bookErase forgets the watch that the message names.
func bookErase(c *storeConn) {
	n := uintptr(c.txLen - storeHeader)
	for i := range c.book {
		page := c.book[i]
		if page == 0 {
			return
		}
		for at := uintptr(bookHeader); at < bookHeader+uintptr(*p32(page)); at += 2 + uintptr(*p16(page + at)) {
			same := uintptr(*p16(page + at)) == n
			for k := uintptr(0); same && k < n; k++ {
				same = *p8(page + at + 2 + k) == *p8(c.txByte(storeHeader + int(k)))
			}
			if same {
				bookCut(page, at)
				return
			}
		}
	}
}

// bookCut removes the entry at offset at.
func bookCut(page, at uintptr) {
	size := 2 + uintptr(*p16(page + at))
	end := bookHeader + uintptr(*p32(page))
	move(page+at, page+at+size, end-at-size)
	*p32(page) -= uint32(size)
}
