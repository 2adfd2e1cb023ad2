package main

// The scheduler: one queue of runnable threads, the head runs. A thread runs until it blocks or has used its slice;
// then it goes to the end with a new one. A thread woken by an interrupt goes to the head, in front of the one that it
// interrupts, which keeps the rest of its slice: so a thread that is woken all the time uses its own slice up and
// cannot starve the others.

const quantum = 5_000_000 // ns

// Lists that a thread can be in.
const (
	qNone = iota
	qRun
	qFutex
	qFile
)

type list struct{ head, tail uintptr }

var (
	runQueue    list
	sliceStart  int64 // when the running thread was resumed
	nSwitches   uint64
	lastRunning uintptr
)

func (l *list) pushBack(t *thread) {
	a := t.addr()
	t.prev, t.next = l.tail, 0
	if l.tail != 0 {
		threadAt(l.tail).next = a
	} else {
		l.head = a
	}
	l.tail = a
}

func (l *list) pushFront(t *thread) {
	a := t.addr()
	t.prev, t.next = 0, l.head
	if l.head != 0 {
		threadAt(l.head).prev = a
	} else {
		l.tail = a
	}
	l.head = a
}

func (l *list) remove(t *thread) {
	if t.prev != 0 {
		threadAt(t.prev).next = t.next
	} else {
		l.head = t.next
	}
	if t.next != 0 {
		threadAt(t.next).prev = t.prev
	} else {
		l.tail = t.prev
	}
	t.prev, t.next = 0, 0
}

// unqueue takes t out of whatever list it is in.
func unqueue(t *thread) {
	switch t.queue {
	case qRun:
		runQueue.remove(t)
	case qFutex:
		futexBucket(t.futexAddr).remove(t)
	case qFile:
		fileWaiters.remove(t)
	}
	t.queue = qNone
}

// ready makes a blocked thread runnable; its result is in rax. Urgent: it runs before what runs now.
func ready(t *thread, urgent bool) {
	unqueue(t)
	timerRemove(t)
	t.state = stRunnable
	t.queue = qRun
	if urgent && t.slice > 0 {
		runQueue.pushFront(t)
		return
	}
	if t.slice <= 0 {
		t.slice = quantum
	}
	runQueue.pushBack(t)
}

// block takes the running thread off the run queue; schedule must follow.
func block(t *thread, state uint64, deadline int64) {
	unqueue(t)
	t.state = state
	t.deadline = deadline
	if deadline != 0 {
		timerInsert(t)
	}
}

// schedule leaves the thread to resume in current. It idles while none can run.
func schedule() {
	for {
		now := nanotime()
		c := threadAt(current)
		if c.state == stRunnable {
			if c.slice -= now - sliceStart; c.slice <= 0 {
				c.slice = quantum
				if c.queue == qRun {
					runQueue.remove(c)
					runQueue.pushBack(c)
				}
			}
		} else if now > sliceStart {
			c.slice -= now - sliceStart
		}
		sliceStart = now
		expireTimers(now)
		if suspendWanted {
			suspendDomain()
			continue
		}
		if runQueue.head == 0 {
			armTimer(now, nextDeadline())
			idle()
			pollEvents()
			continue
		}
		t := threadAt(runQueue.head)
		d := nextDeadline()
		if t.next != 0 && (d == 0 || now+t.slice < d) {
			d = now + t.slice
		}
		if p := profileDeadline(); p != 0 && (d == 0 || p < d) {
			d = p
		}
		armTimer(now, d)
		if current != t.addr() {
			nSwitches++
			current = t.addr()
		}
		deliverPending(t)
		if t.state == stRunnable {
			return
		}
	}
}

// yield ends the running thread's slice.
func yield() { threadAt(current).slice = 0 }

// expireTimers wakes every thread whose deadline has passed.
func expireTimers(now int64) {
	for nTimers > 0 {
		t := threadAt(timers[0])
		if t.deadline > now {
			return
		}
		switch t.state {
		case stFutex:
			t.rax = errno(etimedout)
		case stFile: // the call starts again and sees that its time is up
		default:
			t.rax = 0
		}
		restoreMask(t)
		ready(t, true)
	}
}

func nextDeadline() int64 {
	if nTimers == 0 {
		return 0
	}
	return threadAt(timers[0]).deadline
}

// The timer heap: blocked threads by deadline.
var (
	timers  [maxThreads]uintptr
	nTimers int
)

func timerInsert(t *thread) {
	timers[nTimers] = t.addr()
	t.heapPos = int64(nTimers) + 1
	nTimers++
	timerUp(nTimers - 1)
}

func timerRemove(t *thread) {
	if t.heapPos == 0 {
		return
	}
	i := int(t.heapPos - 1)
	t.heapPos, t.deadline = 0, 0
	nTimers--
	if i == nTimers {
		return
	}
	timerSet(i, timers[nTimers])
	timerDown(i)
	timerUp(i)
}

func timerSet(i int, a uintptr) {
	timers[i] = a
	threadAt(a).heapPos = int64(i) + 1
}

func timerUp(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if threadAt(timers[p]).deadline <= threadAt(timers[i]).deadline {
			return
		}
		a, b := timers[p], timers[i]
		timerSet(p, b)
		timerSet(i, a)
		i = p
	}
}

func timerDown(i int) {
	for {
		c := 2*i + 1
		if c >= nTimers {
			return
		}
		if c+1 < nTimers && threadAt(timers[c+1]).deadline < threadAt(timers[c]).deadline {
			c++
		}
		if threadAt(timers[i]).deadline <= threadAt(timers[c]).deadline {
			return
		}
		a, b := timers[i], timers[c]
		timerSet(i, b)
		timerSet(c, a)
		i = c
	}
}
