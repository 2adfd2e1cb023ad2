package main

// Paths and the system calls on them.

const atFDCWD = -100

// walkResult is where a path leads: its last directory, its last name, and the inode if it exists.
type walkResult struct {
	dir, node uint32
	name      uintptr // in pathBuf
	nameLen   int
	trailing  bool // the path ended in a slash
}

// Whether a symbolic link at the end of a path is followed; others are.
const (
	linkKeep   = iota // it is what the call is about: mkdir, unlink, rename
	linkSlash         // only if there is a slash behind it: lstat
	linkFollow        // open
)

// walk resolves the program's path at va.
func walk(dirfd int32, va uintptr, follow int) (r walkResult, e uint64) {
	n, e := userPath(va)
	if e != 0 {
		return r, e
	}
	if n == 0 {
		return r, errno(enoent)
	}
	start := cwd
	if pathBuf[0] == '/' {
		start = rootInode
	} else if dirfd != atFDCWD {
		i := fileOf(uintptr(uint32(dirfd)))
		if i < 0 {
			return r, errno(ebadf)
		}
		if files[i].kind != kindInode || inodeAt(files[i].inode).mode&modeType != modeDir {
			return r, errno(enotdir)
		}
		start = files[i].inode
	}
	return walkBytes(start, n, follow)
}

const maxLinks = 40 // that one path follows, as on Linux

// walkBytes resolves the first n bytes of pathBuf from directory dir.
func walkBytes(dir uint32, n int, follow int) (r walkResult, e uint64) {
	r = walkResult{dir: dir, node: dir}
	links := 0
	for i := 0; i < n; {
		if pathBuf[i] == '/' {
			r.trailing = true
			i++
			continue
		}
		j := i
		for j < n && pathBuf[j] != '/' {
			j++
		}
		if r.node == 0 {
			return r, errno(enoent)
		}
		if inodeAt(r.node).mode&modeType != modeDir {
			return r, errno(enotdir)
		}
		if j-i > nameMax {
			return r, errno(enametoolong)
		}
		a, k := addrOf8(&pathBuf[i]), j-i
		i = j
		r.trailing = false
		if k == 1 && *p8(a) == '.' {
			r.dir, r.name, r.nameLen = r.node, 0, 0
			continue
		}
		if k == 2 && *p8(a) == '.' && *p8(a + 1) == '.' {
			r.node = max(inodeAt(r.node).parent, rootInode)
			r.dir, r.name, r.nameLen = r.node, 0, 0
			continue
		}
		r.dir, r.name, r.nameLen = r.node, a, k
		r.node = lookup(r.dir, a, k)
		if !isLink(r.node) {
			continue
		}
		for j < n && pathBuf[j] == '/' {
			j++
		}
		if j < n || follow == linkFollow || follow == linkSlash && i < n {
			if links++; links > maxLinks {
				return r, errno(eloop)
			}
			if n = putTarget(r.node, i, n); n == 0 {
				return r, errno(enametoolong)
			}
			i = 0
			r.node = r.dir
			if pathBuf[0] == '/' {
				r.node = rootInode
			}
			r.dir = r.node
		}
	}
	return r, 0
}

// isLink reports whether inode i is a symbolic link with a target; /proc/self/exe has none.
func isLink(i uint32) bool {
	return i != 0 && inodeAt(i).mode&modeType == modeLink && inodeAt(i).special == 0
}

// putTarget replaces the first i of the n bytes in pathBuf by the target of a link, and returns their new number, 0 if
// there is no room.
func putTarget(link uint32, i, n int) int {
	x := inodeAt(link)
	k := int(x.size)
	total := k + n - i
	if total >= len(pathBuf) {
		return 0
	}
	if k > i {
		for j := n - 1; j >= i; j-- {
			pathBuf[j+k-i] = pathBuf[j]
		}
	} else {
		move(addrOf8(&pathBuf[k]), addrOf8(&pathBuf[i]), uintptr(n-i))
	}
	move(addrOf8(&pathBuf[0]), x.block(0, false), uintptr(k))
	return total
}

// resolve is walk for something that must exist.
func resolve(dirfd int32, va uintptr, follow bool) (uint32, uint64) {
	how := linkSlash
	if follow {
		how = linkFollow
	}
	r, e := walk(dirfd, va, how)
	if e == 0 && r.node == 0 {
		e = errno(enoent)
	}
	if e == 0 && r.trailing && inodeAt(r.node).mode&modeType != modeDir {
		e = errno(enotdir)
	}
	return r.node, e
}

func sysOpen(dirfd int32, path uintptr, flags, mode uint32) uint64 {
	follow := linkFollow
	if flags&(oCreate|oExcl) == oCreate|oExcl {
		follow = linkKeep
	} else if flags&oNofollow != 0 {
		follow = linkSlash
	}
	r, e := walk(dirfd, path, follow)
	if e != 0 {
		return e
	}
	if r.node == 0 {
		if flags&oCreate == 0 {
			return errno(enoent)
		}
		if r.trailing {
			return errno(eisdir)
		}
		if inodeAt(r.dir).special != 0 {
			return errno(eacces) // /proc, /dev
		}
		if r.node = inodeNew(modeFile | mode&0o7777); r.node == 0 {
			return errno(enospc)
		}
		link(r.node, r.dir, r.name, r.nameLen)
	} else if flags&(oCreate|oExcl) == oCreate|oExcl {
		return errno(eexist)
	}
	x := inodeAt(r.node)
	dir := x.mode&modeType == modeDir
	switch {
	case dir && flags&oAccess != 0:
		return errno(eisdir)
	case !dir && (flags&oDirectory != 0 || r.trailing):
		return errno(enotdir)
	case isLink(r.node):
		return errno(eloop) // oNofollow
	case x.mode&modeType == modeChar:
		return openDevice(x.special, flags)
	}
	if x.special >= specialProc && !dir {
		if flags&oAccess != 0 {
			return errno(eacces)
		}
		procFill(r.node)
	}
	if flags&oTrunc != 0 && flags&oAccess != 0 {
		inodeTruncate(r.node, 0)
	}
	f, fd := fileOpen(kindInode, flags)
	if !isErr(fd) {
		files[f].inode = r.node
		x.refs++
	}
	return fd
}

func openDevice(special, flags uint32) uint64 {
	switch special {
	case devNull:
		_, fd := fileOpen(kindNull, flags)
		return fd
	case devZero:
		_, fd := fileOpen(kindZero, flags)
		return fd
	case devRandom:
		_, fd := fileOpen(kindRandom, flags)
		return fd
	case devConsole:
		return fdNew(fileConsole, 0)
	case devEvtchn:
		return evtchnOpen(flags)
	case devGntdev:
		_, fd := fileOpen(kindGntdev, flags)
		return fd
	case devGntalloc:
		_, fd := fileOpen(kindGntalloc, flags)
		return fd
	case devXenbus:
		return storeOpen(flags)
	}
	return errno(enxio)
}

func sysMkdir(dirfd int32, path uintptr, mode uint32) uint64 {
	r, e := walk(dirfd, path, linkKeep)
	if e != 0 {
		return e
	}
	if r.node != 0 {
		return errno(eexist)
	}
	if inodeAt(r.dir).special != 0 {
		return errno(eacces)
	}
	if r.node = inodeNew(modeDir | mode&0o7777); r.node == 0 {
		return errno(enospc)
	}
	link(r.node, r.dir, r.name, r.nameLen)
	return 0
}

// sysUnlink removes a name; dir says that it must be a directory (rmdir).
func sysUnlink(dirfd int32, path uintptr, dir bool) uint64 {
	r, e := walk(dirfd, path, linkKeep)
	if e != 0 {
		return e
	}
	if r.node == 0 {
		return errno(enoent)
	}
	x := inodeAt(r.node)
	isDir := x.mode&modeType == modeDir
	switch {
	case r.node == rootInode || x.special != 0:
		return errno(ebusy)
	case r.nameLen == 0: // . or ..
		return errno(einval)
	case (dir || r.trailing) && !isDir:
		return errno(enotdir)
	case !dir && isDir:
		return errno(eisdir)
	case isDir && x.child != 0:
		return errno(enotempty)
	case isDir && r.node == cwd:
		return errno(ebusy)
	}
	unlink(r.node)
	return 0
}

func sysRename(olddir int32, old uintptr, newdir int32, new uintptr, flags uint32) uint64 {
	if flags&^1 != 0 { // only RENAME_NOREPLACE
		return errno(einval)
	}
	r, e := walk(olddir, old, linkKeep)
	if e != 0 {
		return e
	}
	if r.node == 0 {
		return errno(enoent)
	}
	if r.node == rootInode || inodeAt(r.node).special != 0 || r.nameLen == 0 {
		return errno(ebusy)
	}
	isDir := inodeAt(r.node).mode&modeType == modeDir
	if r.trailing && !isDir {
		return errno(enotdir)
	}
	w, e := walk(newdir, new, linkKeep)
	if e != 0 {
		return e
	}
	if inodeAt(w.dir).special != 0 {
		return errno(eacces)
	}
	for d := w.dir; d != rootInode; d = inodeAt(d).parent {
		if d == r.node {
			return errno(einval) // into itself
		}
	}
	if w.node == r.node {
		return 0
	}
	if w.trailing && !isDir {
		return errno(enotdir)
	}
	if w.node != 0 {
		x := inodeAt(w.node)
		toDir := x.mode&modeType == modeDir
		switch {
		case flags&1 != 0:
			return errno(eexist)
		case x.special != 0 || w.nameLen == 0:
			return errno(ebusy)
		case isDir && !toDir:
			return errno(enotdir)
		case !isDir && toDir:
			return errno(eisdir)
		case toDir && x.child != 0:
			return errno(enotempty)
		}
		unlink(w.node)
	}
	inodeAt(r.node).refs++ // hold it over the moment without a name
	unlink(r.node)
	link(r.node, w.dir, w.name, w.nameLen)
	inodeAt(r.node).refs--
	return 0
}

func sysChdir(path uintptr) uint64 {
	i, e := resolve(atFDCWD, path, true)
	if e != 0 {
		return e
	}
	if inodeAt(i).mode&modeType != modeDir {
		return errno(enotdir)
	}
	cwd = i
	return 0
}

func sysFchdir(fd uintptr) uint64 {
	i := fileOf(fd)
	if i < 0 {
		return errno(ebadf)
	}
	if files[i].kind != kindInode || inodeAt(files[i].inode).mode&modeType != modeDir {
		return errno(enotdir)
	}
	cwd = files[i].inode
	return 0
}

func sysGetcwd(buf, n uintptr) uint64 {
	end := len(pathBuf) - 1
	pathBuf[end] = 0
	at := end
	for d := cwd; d != rootInode; d = inodeAt(d).parent {
		x := inodeAt(d)
		k := int(x.nameLen)
		if at < k+1 || x.linked == 0 {
			return errno(enoent)
		}
		at -= k
		move(addrOf8(&pathBuf[at]), addrOf8(&x.name[0]), uintptr(k))
		at--
		pathBuf[at] = '/'
	}
	if at == end {
		at--
		pathBuf[at] = '/'
	}
	k := uintptr(end - at + 1)
	if k > n {
		return errno(erange)
	}
	if !userCopyOut(buf, addrOf8(&pathBuf[at]), k) {
		return errno(efault)
	}
	return uint64(k)
}

// sysExists is what access and chown come to where everybody is root.
func sysExists(dirfd int32, path uintptr, follow bool) uint64 {
	_, e := resolve(dirfd, path, follow)
	return e
}

func sysReadlink(dirfd int32, path, buf, n uintptr) uint64 {
	i, e := resolve(dirfd, path, false)
	if e != 0 {
		return e
	}
	x := inodeAt(i)
	from, k := addrOf8(&pathBuf[0]), uintptr(1)
	switch {
	case x.special == procExe:
		pathBuf[0] = '/'
		for ; k < uintptr(len(programName)) && programName[k-1] != 0; k++ {
			pathBuf[k] = programName[k-1]
		}
	case isLink(i):
		from, k = x.block(0, false), uintptr(x.size)
	default:
		return errno(einval)
	}
	k = min(k, n)
	if !userCopyOut(buf, from, k) {
		return errno(efault)
	}
	return uint64(k)
}

// sysSymlink makes a symbolic link; its target lies in a page of its own.
func sysSymlink(target uintptr, dirfd int32, path uintptr) uint64 {
	n, e := userPath(target)
	if e != 0 {
		return e
	}
	i := inodeNew(modeLink | 0o777)
	if i == 0 {
		return errno(enospc)
	}
	x := inodeAt(i)
	b := x.block(0, true)
	if b == 0 {
		inodeFree(i)
		return errno(enospc)
	}
	move(b, addrOf8(&pathBuf[0]), uintptr(n))
	x.size = uint64(n)
	r, e := walk(dirfd, path, linkKeep)
	switch {
	case e != 0:
	case r.node != 0:
		e = errno(eexist)
	case n == 0 || r.trailing:
		e = errno(enoent)
	case inodeAt(r.dir).special != 0:
		e = errno(eacces)
	}
	if e != 0 {
		inodeFree(i)
		return e
	}
	link(i, r.dir, r.name, r.nameLen)
	return 0
}

func sysChmod(i uint32, mode uint32) uint64 {
	x := inodeAt(i)
	x.mode = x.mode&modeType | mode&0o7777
	return 0
}

func sysTruncate(i uint32, size uint64) uint64 {
	x := inodeAt(i)
	if x.mode&modeType != modeFile || x.special != 0 {
		return errno(einval)
	}
	return inodeTruncate(i, size)
}
