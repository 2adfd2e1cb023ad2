package main

// Futexes: threads that wait for a word of memory to change, in a hash by address.

const futexBuckets = 64

var futexQueues [futexBuckets]list

func futexBucket(a uintptr) *list { return &futexQueues[(a>>2^a>>12)%futexBuckets] }

const (
	futexWait       = 0
	futexWake       = 1
	futexRequeue    = 3
	futexCmpRequeue = 4
	futexWaitBitset = 9
	futexWakeBitset = 10
	futexRealtime   = 256
)

func sysFutex(t *thread, addr, op, val, timeout, mask uintptr) uint64 {
	if addr&3 != 0 {
		return errno(einval)
	}
	cmd := op & 0x7f
	switch cmd {
	case futexWait, futexWaitBitset:
		v, ok := userLoad32(addr)
		if !ok {
			return errno(efault)
		}
		if v != uint32(val) {
			return errno(eagain)
		}
		deadline := int64(0)
		if timeout != 0 {
			ns, e := userTimespec(timeout)
			if e != 0 {
				return e
			}
			switch {
			case cmd == futexWait:
				deadline = nanotime() + ns
			case op&futexRealtime != 0:
				deadline = ns - int64(wallBase())
			default:
				deadline = ns
			}
			deadline = max(deadline, 1)
		}
		t.futexAddr, t.futexMask = addr, 0xffffffff
		if cmd == futexWaitBitset {
			t.futexMask = uint64(mask)
		}
		t.rax = 0
		block(t, stFutex, deadline)
		futexBucket(addr).pushBack(t)
		t.queue = qFutex
		schedule()
		return resultSet
	case futexWake, futexWakeBitset:
		m := uint64(0xffffffff)
		if cmd == futexWakeBitset {
			m = uint64(mask)
		}
		return futexWakeN(addr, int32(val), m)
	}
	return errno(enosys)
}

// futexWakeN wakes up to n threads that wait at addr.
func futexWakeN(addr uintptr, n int32, mask uint64) uint64 {
	woken := uint64(0)
	for a := futexBucket(addr).head; a != 0 && n > 0; {
		w := threadAt(a)
		a = w.next
		if w.futexAddr == addr && w.futexMask&mask != 0 {
			w.rax = 0
			ready(w, false)
			woken++
			n--
		}
	}
	return woken
}
