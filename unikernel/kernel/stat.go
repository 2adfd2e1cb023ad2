package main

import "unsafe"

// What stat, statx, getdents and lseek say of files.

// A stat is Linux's struct stat for x86-64.
type statBuf struct {
	dev, ino, nlink uint64
	mode, uid, gid  uint32
	_               uint32
	rdev            uint64
	size            uint64
	blksize, blocks uint64
	atime, atimeNS  uint64
	mtime, mtimeNS  uint64
	ctime, ctimeNS  uint64
	_               [3]uint64
}

func inodeStat(i uint32, st *statBuf) {
	x := inodeAt(i)
	st.dev, st.ino, st.nlink = 1, uint64(i), 1
	st.mode, st.size, st.blksize = x.mode, x.size, pageSize
	st.blocks = x.pages * 8
	if x.archive != 0 {
		st.blocks = (x.size + 511) / 512
	}
	st.mtime, st.mtimeNS = x.mtime/1e9, x.mtime%1e9
	st.atime, st.atimeNS = x.atime/1e9, x.atime%1e9
	st.ctime, st.ctimeNS = st.mtime, st.mtimeNS
	if x.mode&modeType == modeChar {
		st.rdev = 1<<8 | uint64(x.special)
	}
}

func fileStat(fd uintptr, st *statBuf) uint64 {
	i := fileOf(fd)
	if i < 0 {
		return errno(ebadf)
	}
	switch files[i].kind {
	case kindInode:
		inodeStat(files[i].inode, st)
	case kindPipeRead, kindPipeWrite:
		st.mode, st.ino, st.blksize = modePipe|0o600, uint64(i)+1<<32, pageSize
	case kindEpoll, kindEventfd:
		st.mode, st.ino = 0o600, uint64(i)+1<<32
	default:
		st.mode, st.ino, st.rdev = modeChar|0o666, uint64(i)+1<<32, uint64(files[i].kind)<<8
	}
	return 0
}

const (
	atSymlinkNofollow = 0x100
	atEmptyPath       = 0x1000
)

// statAt finds what (dirfd, path) or, with an empty path, dirfd itself names.
func statAt(dirfd int32, path uintptr, flags uint32, st *statBuf) uint64 {
	if p := userPtr(path, false); flags&atEmptyPath != 0 && p != 0 && *p8(p) == 0 {
		if dirfd == atFDCWD {
			inodeStat(cwd, st)
			return 0
		}
		return fileStat(uintptr(uint32(dirfd)), st)
	}
	i, e := resolve(dirfd, path, flags&atSymlinkNofollow == 0)
	if e != 0 {
		return e
	}
	inodeStat(i, st)
	return 0
}

func putStat(st *statBuf, buf uintptr) uint64 {
	if !userCopyOut(buf, uintptr(unsafe.Pointer(st)), unsafe.Sizeof(*st)) {
		return errno(efault)
	}
	return 0
}

func sysFstat(fd, buf uintptr) uint64 {
	var st statBuf
	if e := fileStat(fd, &st); e != 0 {
		return e
	}
	return putStat(&st, buf)
}

func sysStatAt(dirfd int32, path, buf uintptr, flags uint32) uint64 {
	var st statBuf
	if e := statAt(dirfd, path, flags, &st); e != 0 {
		return e
	}
	return putStat(&st, buf)
}

func sysStatx(dirfd int32, path uintptr, flags uint32, buf uintptr) uint64 {
	var st statBuf
	if e := statAt(dirfd, path, flags, &st); e != 0 {
		return e
	}
	// struct statx (linux/stat.h), 256 bytes.
	var b [32]uint64
	b[0] = 0x7ff | pageSize<<32 // mask: the basic ones; blksize
	b[2] = st.nlink
	b[3] = uint64(st.gid) | uint64(st.mode&0xffff)<<32
	b[4], b[5], b[6] = st.ino, st.size, st.blocks
	b[8], b[9] = st.atime, st.atimeNS
	b[12], b[13] = st.mtime, st.mtimeNS
	b[14], b[15] = st.mtime, st.mtimeNS
	b[17] = 1 << 32 // dev major 0 minor 1
	if !userCopyOut(buf, uintptr(unsafe.Pointer(&b)), 256) {
		return errno(efault)
	}
	return 0
}

// sysUtimensat sets the times of what (dirfd, path) or, without a path, dirfd itself names.
func sysUtimensat(dirfd int32, path, times uintptr, flags uint32) uint64 {
	var i uint32
	if path != 0 {
		var e uint64
		if i, e = resolve(dirfd, path, flags&atSymlinkNofollow == 0); e != 0 {
			return e
		}
	} else {
		f := fileOf(uintptr(uint32(dirfd)))
		if f < 0 {
			return errno(ebadf)
		}
		if files[f].kind != kindInode {
			return 0
		}
		i = files[f].inode
	}
	x := inodeAt(i)
	a, e := fileTime(times, 0, x.atime)
	if e != 0 {
		return e
	}
	m, e := fileTime(times, 16, x.mtime)
	if e != 0 {
		return e
	}
	x.atime, x.mtime = a, m
	return 0
}

// fileTime is the time in the struct timespec at va+off, or now without va; what was stays with UTIME_OMIT. Times before
// 1970 become 1970.
func fileTime(va, off uintptr, was uint64) (uint64, uint64) {
	const now, omit = 0x3fffffff, 0x3ffffffe // UTIME_NOW, UTIME_OMIT
	ns := uint64(now)
	var s uint64
	if va != 0 {
		var ok, ok2 bool
		s, ok = userLoad64(va + off)
		if ns, ok2 = userLoad64(va + off + 8); !ok || !ok2 {
			return 0, errno(efault)
		}
	}
	switch {
	case ns == now:
		return uint64(nanotime()) + wallBase(), 0
	case ns == omit:
		return was, 0
	case ns >= 1e9:
		return 0, errno(einval)
	}
	return uint64(max(int64(s), 0))*1e9 + ns, 0
}

func sysLseek(fd uintptr, off int64, whence uintptr) uint64 {
	i := fileOf(fd)
	if i < 0 {
		return errno(ebadf)
	}
	f := &files[i]
	if f.kind != kindInode {
		return errno(espipe)
	}
	switch whence {
	case 0:
	case 1:
		off += int64(f.pos)
	case 2:
		off += int64(inodeAt(f.inode).size)
	default:
		return errno(einval)
	}
	if off < 0 {
		return errno(einval)
	}
	f.pos = uint64(off)
	return f.pos
}

// sysPread is pread64 and pwrite64.
func sysPread(fd, buf, n uintptr, pos int64, write bool) uint64 {
	i := fileOf(fd)
	if i < 0 {
		return errno(ebadf)
	}
	f := &files[i]
	acc := f.flags & oAccess
	if write && acc == 0 || !write && acc == oWronly {
		return errno(ebadf)
	}
	if f.kind != kindInode {
		return errno(espipe)
	}
	if pos < 0 {
		return errno(einval)
	}
	if !userRange(buf, n) {
		return errno(efault)
	}
	if write {
		return inodeWrite(f.inode, buf, n, uint64(pos))
	}
	return inodeRead(f.inode, buf, n, uint64(pos))
}

// sysGetdents writes struct linux_dirent64s; the position counts entries.
func sysGetdents(fd, buf, n uintptr) uint64 {
	i := fileOf(fd)
	if i < 0 {
		return errno(ebadf)
	}
	f := &files[i]
	if f.kind != kindInode || inodeAt(f.inode).mode&modeType != modeDir {
		return errno(enotdir)
	}
	c := inodeAt(f.inode).child
	for k := uint64(0); k < f.pos && c != 0; k++ {
		c = inodeAt(c).next
	}
	done := uintptr(0)
	for ; c != 0; c = inodeAt(c).next {
		x := inodeAt(c)
		var d [272 + 24]byte
		l := (19 + uintptr(x.nameLen) + 1 + 7) &^ 7
		if done+l > n {
			if done == 0 {
				return errno(einval)
			}
			break
		}
		a := addrOf8(&d[0])
		*p64(a), *p64(a + 8) = uint64(c), f.pos+1
		*p16(a + 16) = uint16(l)
		*p8(a + 18) = uint8(x.mode >> 12) // DT_*
		move(a+19, addrOf8(&x.name[0]), uintptr(x.nameLen))
		if !userCopyOut(buf+done, a, l) {
			return errno(efault)
		}
		done += l
		f.pos++
	}
	return uint64(done)
}
