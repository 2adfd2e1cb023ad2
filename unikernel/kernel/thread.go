package main

import "unsafe"

// fpSize is the room for XSAVE's image: all states up to AVX-512.
const fpSize = 2752

// A thread fills one page. Assembly reads it by the offsets in go_asm.h.
type thread struct {
	// In the order of Linux's struct sigcontext.
	r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags uint64

	fs      uint64
	fpvalid uint64 // fx holds the FP registers; else they need not be restored

	tid        uint64
	index      uint64 // in threads
	state      uint64
	slice      int64 // ns left before others get a turn
	deadline   int64 // monotonic ns when a blocked thread gives up; 0 never
	heapPos    int64 // index in the timer heap + 1; 0 not there
	futexAddr  uintptr
	futexMask  uint64
	buf        uintptr // epoll: where to write events
	bufLen     int64
	waitFile   int64  // open file that a blocked call waits for; -1 any
	pollUntil  int64  // deadline of a poll that restarts; 0 none
	queue      uint64 // which list it is in
	next, prev uintptr

	sigmask, sigpend       uint64
	savedMask              uint64 // mask to put back when a call that replaced it ends
	altSP, altFlags, altSz uint64
	sigAddr                [4]uint64
	tidClear               uintptr // CLONE_CHILD_CLEARTID

	_  [fpAlign]byte
	fx [fpSize]byte
}

// fpAlign makes the offset of fx a multiple of 64, as XSAVE wants it; the compile-time check is below.
const fpAlign = 16

var (
	_ [0]struct{} = [unsafe.Offsetof(thread{}.fx) % 64]struct{}{}
	_ [4096 - unsafe.Sizeof(thread{})]struct{}
)

// States of a thread.
const (
	stFree = iota
	stRunnable
	stFutex
	stSleep
	stEpoll
	stFile // waits for a file; its system call starts again
	stForever
)

const maxThreads = 1024

var (
	threads  [maxThreads]uintptr // *thread, one page each, kept for reuse
	nthreads int                 // highest index in use + 1
	nlive    uint64
	lastTID  uint64
)

func threadAt(a uintptr) *thread      { return (*thread)(unsafe.Add(nil, a)) }
func (t *thread) addr() uintptr       { return uintptr(unsafe.Pointer(t)) }
func (t *thread) fpAddr() uintptr     { return uintptr(unsafe.Pointer(&t.fx)) }
func (t *thread) blockedOnFile() bool { return t.state == stFile }

// newThread returns a runnable thread in no queue, or nil.
func newThread() *thread {
	for i := range threads {
		if threads[i] == 0 {
			p := allocPage()
			if p == 0 {
				return nil
			}
			threads[i] = directMap + p
		}
		t := threadAt(threads[i])
		if t.state != stFree {
			continue
		}
		zero(threads[i], pageSize)
		lastTID++
		t.tid = lastTID
		t.index = uint64(i)
		t.state = stRunnable
		t.slice = quantum
		if i >= nthreads {
			nthreads = i + 1
		}
		nlive++
		return t
	}
	return nil
}

func freeThread(t *thread) {
	unqueue(t)
	timerRemove(t)
	t.state = stFree
	nlive--
}

func threadByTID(tid uint64) *thread {
	for i := 0; i < nthreads; i++ {
		if t := threadAt(threads[i]); t.state != stFree && t.tid == tid {
			return t
		}
	}
	return nil
}
