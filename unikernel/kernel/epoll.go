package main

import "unsafe"

// epoll: registrations of a file with a poller, each in the poller's ready queue while there may be news.

const (
	maxWatches = 1024

	epollET      = 1 << 31
	epollOneshot = 1 << 30
)

type watch struct {
	ep, file     uint32 // file indexes
	fd           uint32
	events       uint32
	data         uint64
	nextOnFile   uint32 // watch + 1
	nextReady    uint32
	used, queued bool
}

type poller struct {
	used              bool
	readyHead, readyT uint32 // watch + 1
}

var (
	watches [maxWatches]watch
	pollers [16]poller // files[i].pipe is the index for an epoll file
)

func sysEpollCreate(flags uint32) uint64 {
	for i := range pollers {
		if pollers[i].used {
			continue
		}
		f, fd := fileOpen(kindEpoll, oRdwr)
		if isErr(fd) {
			return fd
		}
		pollers[i] = poller{used: true}
		files[f].pipe = uint32(i)
		return fd
	}
	return errno(emfile)
}

func epollEnqueue(w uint32) {
	x := &watches[w]
	if x.queued {
		return
	}
	x.queued = true
	x.nextReady = 0
	p := &pollers[files[x.ep].pipe]
	if p.readyT != 0 {
		watches[p.readyT-1].nextReady = w + 1
	} else {
		p.readyHead = w + 1
	}
	p.readyT = w + 1
}

func epollDequeue(w uint32) {
	x := &watches[w]
	if !x.queued {
		return
	}
	x.queued = false
	p := &pollers[files[x.ep].pipe]
	prev := uint32(0)
	for c := p.readyHead; c != 0; c = watches[c-1].nextReady {
		if c != w+1 {
			prev = c
			continue
		}
		if prev == 0 {
			p.readyHead = x.nextReady
		} else {
			watches[prev-1].nextReady = x.nextReady
		}
		if p.readyT == c {
			p.readyT = prev
		}
		return
	}
}

func sysEpollCtl(ep, op, fd, ev uintptr) uint64 {
	e, i := fileOf(ep), fileOf(fd)
	if e < 0 || i < 0 {
		return errno(ebadf)
	}
	if files[e].kind != kindEpoll || e == i {
		return errno(einval)
	}
	switch files[i].kind {
	case kindInode, kindNull, kindZero, kindRandom:
		return errno(eperm)
	case kindEpoll:
		return errno(eloop) // a poller in a poller
	case kindConsole:
		if fd != 0 {
			return errno(eperm) // writing never blocks
		}
	}
	var b [3]uint32
	if op != 2 && !userCopyIn(uintptr(unsafe.Pointer(&b)), ev, 12) {
		return errno(efault)
	}
	found := uint32(0)
	for w := files[i].watch; w != 0; w = watches[w-1].nextOnFile {
		if x := &watches[w-1]; x.ep == uint32(e) && x.fd == uint32(fd) {
			found = w
		}
	}
	switch op {
	case 1: // ADD
		if found != 0 {
			return errno(eexist)
		}
		for w := range watches {
			if watches[w].used {
				continue
			}
			watches[w] = watch{used: true, ep: uint32(e), file: uint32(i), fd: uint32(fd), nextOnFile: files[i].watch}
			files[i].watch = uint32(w + 1)
			found = uint32(w + 1)
			break
		}
		if found == 0 {
			return errno(enospc)
		}
	case 2: // DEL
		if found == 0 {
			return errno(enoent)
		}
		watchFree(found - 1)
		return 0
	case 3: // MOD
		if found == 0 {
			return errno(enoent)
		}
	default:
		return errno(einval)
	}
	x := &watches[found-1]
	x.events, x.data = b[0], uint64(b[1])|uint64(b[2])<<32
	if readiness(i)&(x.events|pollErr|pollHup) != 0 {
		epollEdge(i)
	}
	return 0
}

// watchFree removes a registration.
func watchFree(w uint32) {
	epollDequeue(w)
	x := &watches[w]
	prev := uint32(0)
	for c := files[x.file].watch; c != 0; c = watches[c-1].nextOnFile {
		if c == w+1 {
			if prev == 0 {
				files[x.file].watch = x.nextOnFile
			} else {
				watches[prev-1].nextOnFile = x.nextOnFile
			}
			break
		}
		prev = c
	}
	x.used = false
}

// epollForget drops the registrations of a file that is closed.
func epollForget(i int) {
	for files[i].watch != 0 {
		watchFree(files[i].watch - 1)
	}
}

// epollDrop drops a poller.
func epollDrop(e int) {
	for w := range watches {
		if watches[w].used && watches[w].ep == uint32(e) {
			watchFree(uint32(w))
		}
	}
	pollers[files[e].pipe].used = false
}

// epollEdge queues the registrations of file i and wakes a thread that waits for one.
func epollEdge(i int) {
	for c := files[i].watch; c != 0; c = watches[c-1].nextOnFile {
		x := &watches[c-1]
		if x.events == 0 {
			continue
		}
		epollEnqueue(c - 1)
		ep := x.ep
		for k := 0; k < nthreads; k++ {
			t := threadAt(threads[k])
			if t.state != stEpoll || t.waitFile != int64(ep) {
				continue
			}
			if n := epollCollect(int(ep), t.buf, t.bufLen); n != 0 {
				t.rax = n
				restoreMask(t)
				ready(t, true)
			}
			break
		}
	}
}

// epollCollect writes up to n events to the program's buf; their number, or an errno.
func epollCollect(e int, buf uintptr, n int64) uint64 {
	p := &pollers[files[e].pipe]
	got := uint64(0)
	last := p.readyT
	for p.readyHead != 0 && int64(got) < n {
		c := p.readyHead
		x := &watches[c-1]
		p.readyHead = x.nextReady
		if p.readyHead == 0 {
			p.readyT = 0
		}
		x.queued = false
		if ev := readiness(int(x.file)) & (x.events | pollErr | pollHup); ev != 0 {
			b := [3]uint32{ev, uint32(x.data), uint32(x.data >> 32)}
			if !userCopyOut(buf+uintptr(got)*12, uintptr(unsafe.Pointer(&b)), 12) {
				return errno(efault)
			}
			got++
			switch {
			case x.events&epollOneshot != 0:
				x.events = 0
			case x.events&epollET == 0:
				epollEnqueue(c - 1) // level: asked again next time
			}
		}
		if c == last {
			break
		}
	}
	return got
}

func epollHasReady(e int) bool {
	for c := pollers[files[e].pipe].readyHead; c != 0; c = watches[c-1].nextReady {
		x := &watches[c-1]
		if int(x.file) != e && readiness(int(x.file))&(x.events|pollErr|pollHup) != 0 {
			return true
		}
	}
	return false
}

// sysEpollWait serves epoll_wait and epoll_pwait (timeout in ms) and epoll_pwait2 (ns < 0: for ever).
func sysEpollWait(t *thread, ep, buf, n uintptr, timeout int64) uint64 {
	e := fileOf(ep)
	if e < 0 {
		return errno(ebadf)
	}
	if files[e].kind != kindEpoll || int32(n) <= 0 {
		return errno(einval)
	}
	n = min(n, maxWatches)
	if !userRange(buf, n*12) {
		return errno(efault)
	}
	// Events are not polled here: whoever takes the timer's event must go through schedule.
	got := epollCollect(e, buf, int64(n))
	if got != 0 || timeout == 0 {
		return got
	}
	deadline := int64(0)
	if timeout > 0 {
		deadline = nanotime() + timeout
	}
	t.buf, t.bufLen, t.waitFile = buf, int64(n), int64(e)
	t.rax = 0
	block(t, stEpoll, deadline)
	schedule()
	return resultSet
}
