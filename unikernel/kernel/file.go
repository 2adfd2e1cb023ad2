package main

import "unsafe"

// Open files: descriptors are small numbers that name them, several may name one (dup).

const (
	fileFree = iota
	kindConsole
	kindEpoll
	kindEventfd
	kindPipeRead
	kindPipeWrite
	kindNull
	kindZero
	kindRandom
	kindInode // regular file or directory
	kindEvtchn
	kindGntdev
	kindGntalloc
	kindXenbus
)

const (
	maxFDs   = 512
	maxFiles = 512

	fileConsole = 0 // index of the console in files

	oAccess    = 3
	oWronly    = 1
	oRdwr      = 2
	oCreate    = 0x40
	oExcl      = 0x80
	oTrunc     = 0x200
	oAppend    = 0x400
	oNonblock  = 0x800
	oDirectory = 0x10000
	oNofollow  = 0x20000
	oCloexec   = 0x80000

	pollIn  = 1
	pollOut = 4
	pollErr = 8
	pollHup = 16
)

type file struct {
	kind  uint32
	flags uint32 // oAccess, oAppend, oNonblock
	refs  int32  // descriptors
	watch uint32 // first epoll registration + 1
	inode uint32
	pipe  uint32
	pos   uint64
	count uint64 // eventfd
}

var (
	fds         [maxFDs]uint16 // file index + 1
	files       [maxFiles]file
	fileWaiters list // threads blocked on any file; few
	nFiles      uint64
)

func setupFiles() {
	files[fileConsole] = file{kind: kindConsole, flags: oRdwr | oNonblock, refs: 3}
	fds[0], fds[1], fds[2] = 1, 1, 1
	nFiles = 1
}

// fileNew returns the index of a new open file, or an errno.
func fileNew(kind, flags uint32) (int, uint64) {
	for i := range files {
		if files[i].kind == fileFree {
			files[i] = file{kind: kind, flags: flags & (oAccess | oAppend | oNonblock), refs: 0}
			nFiles++
			return i, 0
		}
	}
	return 0, errno(enfile)
}

// fdNew gives file i the lowest descriptor from lo on.
func fdNew(i int, lo uint64) uint64 {
	for fd := lo; fd < maxFDs; fd++ {
		if fds[fd] == 0 {
			fds[fd] = uint16(i + 1)
			files[i].refs++
			return fd
		}
	}
	if files[i].refs == 0 {
		fileRelease(i)
	}
	return errno(emfile)
}

// fileOpen makes a file and its descriptor.
func fileOpen(kind, flags uint32) (int, uint64) {
	i, e := fileNew(kind, flags)
	if e != 0 {
		return 0, e
	}
	return i, fdNew(i, 0)
}

// fileOf returns the index of fd's file, or -1.
func fileOf(fd uintptr) int {
	if fd >= maxFDs {
		return -1
	}
	return int(fds[fd]) - 1
}

func sysClose(fd uintptr) uint64 {
	i := fileOf(fd)
	if i < 0 {
		return errno(ebadf)
	}
	fds[fd] = 0
	if files[i].refs--; files[i].refs == 0 {
		fileRelease(i)
	}
	return 0
}

// fileRelease frees a file that no descriptor names.
func fileRelease(i int) {
	f := &files[i]
	epollForget(i)
	switch f.kind {
	case kindEpoll:
		epollDrop(i)
	case kindPipeRead:
		pipes[f.pipe].readers--
		pipeChanged(f.pipe)
	case kindPipeWrite:
		pipes[f.pipe].writers--
		pipeChanged(f.pipe)
	case kindInode:
		inodeRelease(f.inode)
	case kindEvtchn:
		evtchnRelease(i)
	case kindXenbus:
		storeClose(i)
	case kindGntalloc, kindGntdev:
	}
	if f.kind == kindPipeRead || f.kind == kindPipeWrite {
		pipeRelease(f.pipe)
	}
	f.kind = fileFree
	nFiles--
}

// fileChanged tells pollers and blocked threads that file i may have become ready.
func fileChanged(i int) {
	epollEdge(i)
	for a := fileWaiters.head; a != 0; {
		t := threadAt(a)
		a = t.next
		if t.waitFile == int64(i) || t.waitFile < 0 {
			ready(t, false)
		}
	}
}

// waitForFile makes the running thread try its system call again when file i changes (-1: any), or at deadline.
func waitForFile(t *thread, i int, deadline int64) uint64 {
	t.rip -= 2 // SYSCALL again; rax still holds the number
	t.waitFile = int64(i)
	block(t, stFile, deadline)
	fileWaiters.pushBack(t)
	t.queue = qFile
	schedule()
	return resultSet
}

// readiness is the poll mask of file i.
func readiness(i int) uint32 {
	f := &files[i]
	switch f.kind {
	case kindConsole:
		if consoleReadable() {
			return pollIn | pollOut
		}
		return pollOut
	case kindEventfd:
		if f.count > 0 {
			return pollIn | pollOut
		}
		return pollOut
	case kindPipeRead:
		return pipes[f.pipe].readiness(true)
	case kindPipeWrite:
		return pipes[f.pipe].readiness(false)
	case kindEvtchn:
		if f.count > 0 {
			return pollIn | pollOut
		}
		return pollOut
	case kindXenbus:
		if storeReadable(i) {
			return pollIn | pollOut
		}
		return pollOut
	case kindEpoll:
		if epollHasReady(i) {
			return pollIn
		}
		return 0
	}
	return pollIn | pollOut
}

func sysRead(t *thread, fd, buf, n uintptr) uint64 {
	i := fileOf(fd)
	if i < 0 || files[i].flags&oAccess == oWronly {
		return errno(ebadf)
	}
	if !userRange(buf, n) {
		return errno(efault)
	}
	f := &files[i]
	n = min(n, 1<<30)
	switch f.kind {
	case kindConsole, kindPipeRead, kindEvtchn, kindXenbus, kindEventfd:
		if f.kind == kindPipeRead && n == 0 {
			return 0
		}
		if readiness(i)&(pollIn|pollHup) == 0 {
			if f.flags&oNonblock != 0 {
				return errno(eagain)
			}
			return waitForFile(t, i, 0)
		}
	}
	switch f.kind {
	case kindConsole:
		return consoleRead(buf, n)
	case kindEventfd:
		if n < 8 {
			return errno(einval)
		}
		v := f.count
		if !userStore64(buf, v) {
			return errno(efault)
		}
		f.count = 0
		return 8
	case kindPipeRead:
		return pipeRead(f.pipe, buf, n)
	case kindNull:
		return 0
	case kindZero:
		if !userZero(buf, n) {
			return errno(efault)
		}
		return uint64(n)
	case kindRandom:
		return sysGetrandom(buf, n)
	case kindInode:
		r := inodeRead(f.inode, buf, n, f.pos)
		if !isErr(r) {
			f.pos += r
		}
		return r
	case kindEvtchn:
		return evtchnRead(i, buf, n)
	case kindXenbus:
		return storeRead(i, buf, n)
	}
	return errno(einval)
}

func sysWrite(t *thread, fd, buf, n uintptr) uint64 {
	i := fileOf(fd)
	if i < 0 || files[i].flags&oAccess == 0 {
		return errno(ebadf)
	}
	if !userRange(buf, n) {
		return errno(efault)
	}
	f := &files[i]
	n = min(n, 1<<30)
	switch f.kind {
	case kindConsole:
		return consoleWrite(buf, n)
	case kindEventfd:
		v, ok := userLoad64(buf)
		switch {
		case n < 8 || v == ^uint64(0):
			return errno(einval)
		case !ok:
			return errno(efault)
		case f.count+v < v:
			return errno(eagain)
		}
		f.count += v
		fileChanged(i)
		return 8
	case kindPipeWrite:
		p := &pipes[f.pipe]
		if p.readers == 0 {
			t.rax = errno(epipe)
			sendSignal(t, sigPIPE)
			deliverPending(t)
			return resultSet
		}
		if n > 0 && p.readiness(false)&pollOut == 0 {
			if f.flags&oNonblock != 0 {
				return errno(eagain)
			}
			return waitForFile(t, i, 0)
		}
		return pipeWrite(f.pipe, buf, n)
	case kindNull, kindZero, kindRandom:
		return uint64(n)
	case kindInode:
		if f.flags&oAppend != 0 {
			f.pos = inodeAt(f.inode).size
		}
		r := inodeWrite(f.inode, buf, n, f.pos)
		if !isErr(r) {
			f.pos += r
		}
		return r
	case kindEvtchn:
		return evtchnWrite(i, buf, n)
	case kindXenbus:
		return storeWrite(t, i, buf, n)
	}
	return errno(einval)
}

// sysVector is readv and writev: the first element that does not go through whole ends it.
func sysVector(t *thread, fd, iov, n uintptr, write bool) uint64 {
	if n > 1024 {
		return errno(einval)
	}
	total := uint64(0)
	for k := uintptr(0); k < n; k++ {
		base, ok1 := userLoad64(iov + k*16)
		size, ok2 := userLoad64(iov + k*16 + 8)
		if !ok1 || !ok2 {
			return errno(efault)
		}
		if size == 0 {
			continue
		}
		if i := fileOf(fd); total > 0 && i >= 0 {
			need := uint32(pollIn)
			if write {
				need = pollOut
			}
			if readiness(i)&need == 0 {
				return total // do not block with something done
			}
		}
		var r uint64
		if write {
			r = sysWrite(t, fd, uintptr(base), uintptr(size))
		} else {
			r = sysRead(t, fd, uintptr(base), uintptr(size))
		}
		if r == resultSet || isErr(r) {
			if total > 0 && isErr(r) {
				return total
			}
			return r
		}
		total += r
		if r < size {
			break
		}
	}
	return total
}

func sysDup(old, low uintptr) uint64 {
	i := fileOf(old)
	if i < 0 {
		return errno(ebadf)
	}
	return fdNew(i, uint64(low))
}

func sysDup2(old, fd uintptr) uint64 {
	i := fileOf(old)
	if i < 0 || fd >= maxFDs {
		return errno(ebadf)
	}
	if old == fd {
		return uint64(fd)
	}
	files[i].refs++
	sysClose(fd)
	fds[fd] = uint16(i + 1)
	return uint64(fd)
}

func sysFcntl(fd, cmd, arg uintptr) uint64 {
	i := fileOf(fd)
	if i < 0 {
		return errno(ebadf)
	}
	switch cmd {
	case 0, 1030: // F_DUPFD, F_DUPFD_CLOEXEC
		if arg >= maxFDs {
			return errno(einval)
		}
		return sysDup(fd, arg)
	case 1: // F_GETFD
		return 1
	case 2: // F_SETFD
		return 0
	case 3: // F_GETFL
		return uint64(files[i].flags)
	case 4: // F_SETFL
		files[i].flags = files[i].flags&^(oAppend|oNonblock) | uint32(arg)&(oAppend|oNonblock)
		return 0
	case 5: // F_GETLK
		return 0
	case 6, 7, 36, 37, 38: // F_SETLK and its like: nobody else is here
		return 0
	case 1031, 1032: // F_SETPIPE_SZ, F_GETPIPE_SZ
		return pipeSize
	}
	return errno(einval)
}

func sysEventfd(count uintptr, flags uint32) uint64 {
	i, fd := fileOpen(kindEventfd, oRdwr|flags&oNonblock)
	if !isErr(fd) {
		files[i].count = uint64(uint32(count))
	}
	return fd
}

// sysPoll serves poll and ppoll; timeout in ns, negative: for ever.
func sysPoll(t *thread, set, n uintptr, timeout int64) uint64 {
	if n > maxFDs {
		return errno(einval)
	}
	hits := uint64(0)
	for k := uintptr(0); k < n; k++ {
		v, ok := userLoad64(set + k*8) // int fd; short events, revents
		if !ok {
			return errno(efault)
		}
		fd, want := int32(v), uint32(v>>32&0xffff)
		got := uint32(0)
		if fd >= 0 {
			if i := fileOf(uintptr(fd)); i < 0 {
				got = 0x20 // POLLNVAL
			} else {
				got = readiness(i) & (want | pollErr | pollHup)
			}
		}
		if !userCopyOut(set+k*8+6, uintptr(unsafe.Pointer(&got)), 2) {
			return errno(efault)
		}
		if got != 0 {
			hits++
		}
	}
	now := nanotime()
	if hits > 0 || timeout == 0 || t.pollUntil != 0 && now >= t.pollUntil {
		t.pollUntil = 0
		return hits
	}
	if timeout > 0 && t.pollUntil == 0 {
		t.pollUntil = now + timeout
	}
	return waitForFile(t, -1, t.pollUntil)
}
