package main

// Pipes: one page each, which a writer gets back when both ends are closed.

const (
	pipeSize = pageSize
	maxPipes = 128
)

type pipe struct {
	page             uintptr
	rd, wr           uint64
	readers, writers uint32
	rfile, wfile     uint32
}

var pipes [maxPipes]pipe

func sysPipe(out uintptr, flags uint32) uint64 {
	if flags&^(oNonblock|oCloexec|0x4000) != 0 {
		return errno(einval)
	}
	for i := range pipes {
		p := &pipes[i]
		if p.readers+p.writers != 0 {
			continue
		}
		if !haveRoom(1) {
			return errno(enomem)
		}
		r, e := fileNew(kindPipeRead, flags&oNonblock)
		if e != 0 {
			return e
		}
		w, e := fileNew(kindPipeWrite, oWronly|flags&oNonblock)
		if e != 0 {
			files[r].kind = fileFree
			nFiles--
			return e
		}
		files[r].pipe, files[w].pipe = uint32(i), uint32(i)
		*p = pipe{page: allocPage(), readers: 1, writers: 1, rfile: uint32(r), wfile: uint32(w)}
		a := fdNew(r, 0)
		if isErr(a) {
			fileRelease(w)
			return a
		}
		b := fdNew(w, 0)
		if isErr(b) {
			sysClose(uintptr(a))
			return b
		}
		if !userStore32(out, uint32(a)) || !userStore32(out+4, uint32(b)) {
			sysClose(uintptr(a))
			sysClose(uintptr(b))
			return errno(efault)
		}
		return 0
	}
	return errno(emfile)
}

func pipeRelease(i uint32) {
	if p := &pipes[i]; p.readers+p.writers == 0 && p.page != 0 {
		freePage(p.page)
		p.page = 0
	}
}

// pipeChanged wakes both ends.
func pipeChanged(i uint32) {
	p := &pipes[i]
	if p.readers > 0 {
		fileChanged(int(p.rfile))
	}
	if p.writers > 0 {
		fileChanged(int(p.wfile))
	}
}

func (p *pipe) readiness(read bool) uint32 {
	r := uint32(0)
	if read {
		if p.rd != p.wr {
			r |= pollIn
		}
		if p.writers == 0 {
			r |= pollHup
		}
		return r
	}
	if p.wr-p.rd < pipeSize {
		r |= pollOut
	}
	if p.readers == 0 {
		r |= pollErr | pollOut
	}
	return r
}

func pipeRead(i uint32, buf, n uintptr) uint64 {
	p := &pipes[i]
	done := uintptr(0)
	for done < n && p.rd != p.wr {
		o := uintptr(p.rd % pipeSize)
		k := min(n-done, uintptr(p.wr-p.rd), pipeSize-o)
		if !userCopyOut(buf+done, directMap+p.page+o, k) {
			return errno(efault)
		}
		p.rd += uint64(k)
		done += k
	}
	if done > 0 && p.writers > 0 {
		fileChanged(int(p.wfile))
	}
	return uint64(done)
}

func pipeWrite(i uint32, buf, n uintptr) uint64 {
	p := &pipes[i]
	done := uintptr(0)
	for done < n && p.wr-p.rd < pipeSize {
		o := uintptr(p.wr % pipeSize)
		k := min(n-done, uintptr(pipeSize-(p.wr-p.rd)), pipeSize-o)
		if !userCopyIn(directMap+p.page+o, buf+done, k) {
			return errno(efault)
		}
		p.wr += uint64(k)
		done += k
	}
	if done > 0 {
		fileChanged(int(p.rfile))
	}
	return uint64(done)
}
