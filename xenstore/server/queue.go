package server

import (
	"bytes"
	"hash/maphash"

	"morgana/xen/wire/xs"
)

// queue is what is to be sent on a connection.
type queue struct {
	buf    []byte
	off    int // sent of buf
	msgs   []message
	first  int            // of msgs
	part   int            // sent of msgs[first]
	events int            // among msgs
	hashes map[uint64]int // of them, once there are many: how often each occurs
	pos    uint64         // of buf[off] in the stream of all that was ever sent
	fresh  int            // bytes at the end that the journal has not
	whole  bool           // the journal is to have all of it anew
}

// message is one message of the queue.
type message struct {
	size     int
	event    bool
	rest     bool // it lacks its beginning, which was sent before a restart
	hash     uint64
	deadline int64  // an event's for a guest, 0 for none
	cause    *cause // the request of a guest that the event or the reply is of
}

// cause is a request of a guest that fired events: it is under way until all of them are delivered.
type cause struct {
	dom     *domain
	events  int
	replied bool // the reply was sent
}

var seed = maphash.MakeSeed()

func (q *queue) bytes() []byte { return q.buf[q.off:] }

func (q *queue) waiting() []message { return q.msgs[q.first:] }

// grow makes room at the end without keeping what was sent for ever.
func (q *queue) grow() {
	switch {
	case q.off == len(q.buf):
		q.buf, q.off = q.buf[:0], 0
		if cap(q.buf) > 1<<16 {
			q.buf = nil
		}
	case q.off > 1<<14 && q.off > len(q.buf)/2:
		n := copy(q.buf, q.buf[q.off:])
		q.buf, q.off = q.buf[:n], 0
	}
	switch {
	case q.first == len(q.msgs):
		q.msgs, q.first = q.msgs[:0], 0
	case q.first > 256 && q.first > len(q.msgs)/2:
		n := copy(q.msgs, q.msgs[q.first:])
		clear(q.msgs[n:])
		q.msgs, q.first = q.msgs[:n], 0
	}
}

// reply queues a reply.
func (q *queue) reply(c *Conn, h xs.Header, payload string, why *cause) {
	q.grow()
	h.Len = uint32(len(payload))
	q.buf = append(xs.AppendHeader(q.buf, h), payload...)
	q.push(c, message{size: xs.HeaderSize + len(payload), cause: why})
}

func (q *queue) push(c *Conn, m message) {
	q.msgs = append(q.msgs, m)
	q.fresh += m.size
	if m.event {
		q.count(m.hash)
	}
	c.core.dueAt(m.deadline)
	c.core.touch(c)
	if !c.queued {
		c.queued = true
		c.core.ready = append(c.core.ready, c)
	}
	if d := c.dom; d != nil {
		d.memory += m.size
		if !m.event {
			d.outstanding++
		}
	}
}

// event queues an event unless the very same one waits already. It reports whether it did.
func (q *queue) event(c *Conn, path, token string, now, timeout int64, why *cause) bool {
	size := xs.HeaderSize + len(path) + len(token) + 2
	if size > xs.HeaderSize+xs.PayloadMax {
		return false // XSA-324: never send one that is too long
	}
	q.grow()
	start := len(q.buf)
	q.buf = xs.AppendHeader(q.buf, xs.Header{Op: xs.WatchEvent, Len: uint32(size - xs.HeaderSize)})
	q.buf = xs.AppendWatch(q.buf, path, token)
	b := q.buf[start:]
	m := message{size: size, event: true, cause: why, hash: maphash.Bytes(seed, b)}
	if path[0] != '@' && q.holds(m.hash, b, start) {
		q.buf = q.buf[:start]
		return false
	}
	if d := c.guest(); d != nil {
		if timeout > 0 {
			m.deadline = now + timeout
		}
		if l := c.core.store.Limits.Memory; l > 0 && d.memory+c.core.store.Usage(d.id).Bytes+size >= l {
			q.buf = q.buf[:start]
			return false
		}
	}
	if why != nil {
		why.events++
	}
	q.push(c, m)
	return true
}

// someEvents is how many are compared one by one.
const someEvents = 32

// count adds an event to those that wait; its message is there.
func (q *queue) count(hash uint64) {
	q.events++
	switch {
	case q.hashes != nil:
		q.hashes[hash]++
	case q.events > someEvents:
		q.hashes = make(map[uint64]int, 4*someEvents)
		for _, m := range q.waiting() {
			if m.event {
				q.hashes[m.hash]++
			}
		}
	}
}

// uncount takes one away.
func (q *queue) uncount(hash uint64) {
	q.events--
	switch n := q.hashes[hash]; {
	case q.events == 0:
		q.hashes = nil
	case n > 1:
		q.hashes[hash] = n - 1
	case q.hashes != nil:
		delete(q.hashes, hash)
	}
}

// holds reports whether an event waits already; end is where the queue ends.
func (q *queue) holds(hash uint64, b []byte, end int) bool {
	switch {
	case q.events == 0:
		return false
	case q.hashes != nil: // seeded, of 64 bits: nobody makes two alike
		return q.hashes[hash] > 0
	}
	at := q.off - q.part
	for i := q.first; i < len(q.msgs); i++ {
		m := &q.msgs[i]
		if m.event && m.hash == hash && m.size == len(b) && at >= 0 && at+m.size <= end && bytes.Equal(q.buf[at:at+m.size], b) {
			return true
		}
		at += m.size
	}
	return false
}

// sent takes n bytes off the front.
func (q *queue) sent(c *Conn, n int) {
	q.off += n
	q.pos += uint64(n)
	q.part += n
	for q.first < len(q.msgs) && q.part >= q.msgs[q.first].size {
		m := &q.msgs[q.first]
		q.part -= m.size
		q.first++
		q.done(c, m)
	}
}

// done accounts for a message that left the queue.
func (q *queue) done(c *Conn, m *message) {
	if m.event {
		q.uncount(m.hash)
	}
	if d := c.dom; d != nil {
		d.memory -= m.size
	}
	switch why := m.cause; {
	case m.event && why != nil:
		if why.events--; why.events == 0 && why.replied {
			why.dom.outstanding--
		}
	case m.event:
	case why != nil && why.events > 0:
		why.replied = true
	case c.dom != nil:
		c.dom.outstanding--
	}
	*m = message{}
}

// expire drops events that waited too long, but for one that is half sent. It returns when the next one will have, 0
// if none, and whether it dropped any.
func (q *queue) expire(c *Conn, now int64) (next int64, dropped int) {
	if q.events == 0 {
		return 0, 0
	}
	kept := q.msgs[:q.first]
	from, to := q.off-q.part, q.off-q.part
	for i := q.first; i < len(q.msgs); i++ {
		m := q.msgs[i]
		half := i == q.first && q.part > 0 || m.rest
		if m.deadline != 0 && m.deadline <= now && !half {
			dropped++
			q.done(c, &q.msgs[i])
			from += m.size
			continue
		}
		if m.deadline != 0 && !half && (next == 0 || m.deadline < next) {
			next = m.deadline
		}
		// A half sent first message may begin before what the buffer still holds.
		lo := max(from, q.off)
		copy(q.buf[max(to, q.off):], q.buf[lo:from+m.size])
		from += m.size
		to += m.size
		kept = append(kept, m)
	}
	clear(q.msgs[len(kept):])
	q.msgs = kept
	q.buf = q.buf[:max(to, q.off)]
	if dropped > 0 {
		q.whole = true
		c.core.touch(c)
	}
	return next, dropped
}

// restore queues what was to be sent before a restart: messages, the first of which may be the rest of one.
func (q *queue) restore(c *Conn, b []byte, partial int, deadline int64) error {
	for len(b) > 0 {
		m := message{size: partial, rest: true}
		if partial == 0 {
			h, _, _, err := xs.ParseMessage(b)
			if err != nil {
				return err
			}
			m = message{size: xs.HeaderSize + int(h.Len), event: h.Op == xs.WatchEvent}
		} else if partial > len(b) {
			return xs.ErrShort
		}
		partial = 0
		q.grow()
		q.buf = append(q.buf, b[:m.size]...)
		if m.event {
			m.hash = maphash.Bytes(seed, b[:m.size])
			if c.guest() != nil {
				m.deadline = deadline
			}
		}
		b = b[m.size:]
		q.push(c, m)
	}
	return nil
}

// partial is how many bytes at the front are the rest of a message that is half sent.
func (q *queue) partial() int {
	if q.first == len(q.msgs) || q.part == 0 && !q.msgs[q.first].rest {
		return 0
	}
	return q.msgs[q.first].size - q.part
}

// clear drops all.
func (q *queue) clear(c *Conn) {
	for i := q.first; i < len(q.msgs); i++ {
		q.done(c, &q.msgs[i])
	}
	*q = queue{pos: q.pos, whole: true}
	c.core.touch(c)
}
