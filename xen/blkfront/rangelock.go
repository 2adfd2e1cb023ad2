package blkfront

import "sync"

// rangeLock keeps those who change a part of a sector from those who write the sector. Whole sectors are written at
// once by any number; a part is changed by reading the sector, patching it and writing it, and meanwhile nobody else
// writes there. The zero value is unlocked.
type rangeLock struct {
	mu     sync.Mutex
	first  *rangeHold
	alone  int           // exclusive holds
	freed  chan struct{} // closed when a hold ends; made when somebody waits
	queued int           // who waits
}

// rangeHold is a range of bytes that somebody writes. It belongs to the lock from lock to unlock.
type rangeHold struct {
	off, end   int64
	exclusive  bool
	prev, next *rangeHold
}

// lock waits until [off, end) is free for h, or one of the channels is closed, which it reports by false.
func (l *rangeLock) lock(h *rangeHold, off, end int64, exclusive bool, give, up <-chan struct{}) bool {
	h.off, h.end, h.exclusive = off, end, exclusive
	l.mu.Lock()
	for l.takenLocked(h) {
		if l.freed == nil {
			l.freed = make(chan struct{})
		}
		freed := l.freed
		l.queued++
		l.mu.Unlock()
		ok := true
		select {
		case <-freed:
		case <-give:
			ok = false
		case <-up:
			ok = false
		}
		l.mu.Lock()
		l.queued--
		if !ok {
			l.mu.Unlock()
			return false
		}
	}
	l.enterLocked(h)
	l.mu.Unlock()
	return true
}

// seize holds [off, end) for h alone at once, beside those who hold it already: for a write that nobody waits for any
// more and that may still happen.
func (l *rangeLock) seize(h *rangeHold, off, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h.off, h.end, h.exclusive = off, end, true
	l.enterLocked(h)
}

func (l *rangeLock) enterLocked(h *rangeHold) {
	if h.exclusive {
		l.alone++
	}
	h.prev, h.next = nil, l.first
	if l.first != nil {
		l.first.prev = h
	}
	l.first = h
}

// takenLocked reports whether someone is in h's way. Whole sectors never are in each other's, so as long as nobody
// changes a part nothing is searched.
func (l *rangeLock) takenLocked(h *rangeHold) bool {
	if l.alone == 0 && !h.exclusive {
		return false
	}
	for o := l.first; o != nil; o = o.next {
		if (o.exclusive || h.exclusive) && o.off < h.end && h.off < o.end {
			return true
		}
	}
	return false
}

func (l *rangeLock) unlock(h *rangeHold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.exclusive {
		l.alone--
	}
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		l.first = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
	h.prev, h.next = nil, nil
	if l.freed != nil && l.queued > 0 {
		close(l.freed)
		l.freed = nil
	}
}
