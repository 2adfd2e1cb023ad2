package main

import "unsafe"

// The file system: inodes in pages, found by a hash of (directory, name). Contents lie in pages of their own or, until
// somebody writes, in the image's archive.

const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
	modeChar = 0o020000
	modePipe = 0o010000
	modeType = 0o170000

	inodeSize    = 512
	inodesAPage  = pageSize / inodeSize
	maxInodePage = 512
	nameMax      = 255
	maxFileSize  = 512 * 512 * pageSize

	rootInode = 1
)

type inode struct {
	mode     uint32 // 0: free
	refs     uint32 // open files
	parent   uint32
	hashNext uint32
	child    uint32 // first entry of a directory
	prev     uint32 // siblings
	next     uint32
	linked   uint32 // 1: in its directory
	size     uint64
	archive  uintptr // physical address of the content, while it is the image's
	index    uintptr // physical page of 512 entries, each a page of 512 entries, each a page of content
	mtime    uint64  // ns since 1970
	atime    uint64  // what was last set, not when it was read
	special  uint32  // what an open makes of it: procMaps …, or a device
	nameLen  uint32
	pages    uint64
	name     [nameMax + 1]byte
}

var _ [inodeSize - unsafe.Sizeof(inode{})]struct{}

var (
	inodePages [maxInodePage]uintptr
	inodeHash  [512]uint32
	freeInode  uint32 // hint
	cwd        uint32
)

func inodeAt(i uint32) *inode {
	return (*inode)(unsafe.Add(nil, inodePages[i/inodesAPage]+uintptr(i%inodesAPage)*inodeSize))
}

// inodeNew returns a free inode, 0 when there is none.
func inodeNew(mode uint32) uint32 {
	for i := max(freeInode, rootInode); i < maxInodePage*inodesAPage; i++ {
		pg := i / inodesAPage
		if inodePages[pg] == 0 {
			p := allocPage()
			if p == 0 {
				return 0
			}
			inodePages[pg] = directMap + p
		}
		if n := inodeAt(i); n.mode == 0 {
			zero(uintptr(unsafe.Pointer(n)), inodeSize)
			n.mode = mode
			n.mtime = uint64(nanotime()) + wallBase()
			n.atime = n.mtime
			freeInode = i + 1
			return i
		}
	}
	return 0
}

// nameHash hashes bytes at the kernel's address a.
func nameHash(dir uint32, a uintptr, n int) uint32 {
	h := uint32(2166136261) ^ dir*16777619
	for i := 0; i < n; i++ {
		h = (h ^ uint32(*p8(a + uintptr(i)))) * 16777619
	}
	return h % uint32(len(inodeHash))
}

func lookup(dir uint32, a uintptr, n int) uint32 {
	for i := inodeHash[nameHash(dir, a, n)]; i != 0; i = inodeAt(i).hashNext {
		if x := inodeAt(i); x.parent == dir && int(x.nameLen) == n && sameBytes(addrOf8(&x.name[0]), a, n) {
			return i
		}
	}
	return 0
}

func sameBytes(a, b uintptr, n int) bool {
	for i := uintptr(0); i < uintptr(n); i++ {
		if *p8(a + i) != *p8(b + i) {
			return false
		}
	}
	return true
}

// link enters inode i in dir under the n bytes at a.
func link(i, dir uint32, a uintptr, n int) {
	x, d := inodeAt(i), inodeAt(dir)
	move(addrOf8(&x.name[0]), a, uintptr(n))
	x.nameLen, x.parent, x.linked = uint32(n), dir, 1
	h := &inodeHash[nameHash(dir, a, n)]
	x.hashNext, *h = *h, i
	x.next, x.prev = d.child, 0
	if d.child != 0 {
		inodeAt(d.child).prev = i
	}
	d.child = i
}

// unlink takes inode i out of its directory; it goes when nobody has it open.
func unlink(i uint32) {
	x := inodeAt(i)
	h := &inodeHash[nameHash(x.parent, addrOf8(&x.name[0]), int(x.nameLen))]
	for *h != i {
		h = &inodeAt(*h).hashNext
	}
	*h = x.hashNext
	if x.prev != 0 {
		inodeAt(x.prev).next = x.next
	} else {
		inodeAt(x.parent).child = x.next
	}
	if x.next != 0 {
		inodeAt(x.next).prev = x.prev
	}
	x.linked = 0
	if x.refs == 0 {
		inodeFree(i)
	}
}

func inodeFree(i uint32) {
	inodeTruncate(i, 0)
	inodeAt(i).mode = 0
	freeInode = min(freeInode, i)
}

func inodeRelease(i uint32) {
	x := inodeAt(i)
	if x.refs--; x.refs == 0 && x.linked == 0 && i != rootInode {
		inodeFree(i)
	}
}

// block returns the kernel's address of the page that holds byte off, 0 if there is none and alloc is false.
func (x *inode) block(off uint64, alloc bool) uintptr {
	if x.index == 0 {
		if !alloc || !haveRoom(3) {
			return 0
		}
		x.index = allocPage()
		x.pages++
	}
	e := p64(directMap + x.index + uintptr(off>>21)*8)
	if *e == 0 {
		if !alloc || !haveRoom(2) {
			return 0
		}
		*e = uint64(allocPage())
		x.pages++
	}
	b := p64(directMap + uintptr(*e) + uintptr(off>>12&511)*8)
	if *b == 0 {
		if !alloc || !haveRoom(1) {
			return 0
		}
		*b = uint64(allocPage())
		x.pages++
	}
	return directMap + uintptr(*b)
}

// unshare copies the archive's content to pages, before a write.
func (x *inode) unshare() bool {
	from, size := x.archive, x.size
	if from == 0 {
		return true
	}
	if !haveRoom(size/pageSize + size>>21 + 3) {
		return false
	}
	x.archive = 0
	for o := uint64(0); o < size; o += pageSize {
		move(x.block(o, true), directMap+from+uintptr(o), uintptr(min(pageSize, size-o)))
	}
	return true
}

func inodeTruncate(i uint32, size uint64) uint64 {
	x := inodeAt(i)
	if size > maxFileSize {
		return errno(efbig)
	}
	if x.archive != 0 && size == 0 {
		x.archive, x.size = 0, 0
	}
	if x.archive != 0 && !x.unshare() {
		return errno(enospc)
	}
	if size < x.size && x.index != 0 {
		if o := size & pageMask; o != 0 {
			if b := x.block(size, false); b != 0 {
				for ; o < pageSize; o++ {
					*p8(b + uintptr(o)) = 0
				}
			}
		}
		x.freeFrom(pageUp(uintptr(size)))
	}
	x.size = size
	return 0
}

// freeFrom frees the content from byte off, a page boundary, on.
func (x *inode) freeFrom(off uintptr) {
	for hi := uintptr(0); hi < 512; hi++ {
		e := p64(directMap + x.index + hi*8)
		if *e == 0 || (hi+1)<<21 <= off {
			continue
		}
		for lo := uintptr(0); lo < 512; lo++ {
			b := p64(directMap + uintptr(*e) + lo*8)
			if *b != 0 && hi<<21|lo<<12 >= off {
				freePage(uintptr(*b))
				*b = 0
				x.pages--
			}
		}
		if hi<<21 >= off {
			freePage(uintptr(*e))
			*e = 0
			x.pages--
		}
	}
	if off == 0 {
		freePage(x.index)
		x.index = 0
		x.pages--
	}
}

func inodeRead(i uint32, buf, n uintptr, pos uint64) uint64 {
	x := inodeAt(i)
	if x.mode&modeType == modeDir {
		return errno(eisdir)
	}
	if pos >= x.size {
		return 0
	}
	n = min(n, uintptr(x.size-pos))
	for done := uintptr(0); done < n; {
		o := pos + uint64(done)
		k := min(n-done, pageSize-uintptr(o&pageMask))
		ok := false
		if x.archive != 0 {
			ok = userCopyOut(buf+done, directMap+x.archive+uintptr(o), k)
		} else if b := x.block(o, false); b != 0 {
			ok = userCopyOut(buf+done, b+uintptr(o&pageMask), k)
		} else {
			ok = userZero(buf+done, k)
		}
		if !ok {
			return errno(efault)
		}
		done += k
	}
	return uint64(n)
}

func inodeWrite(i uint32, buf, n uintptr, pos uint64) uint64 {
	x := inodeAt(i)
	if pos+uint64(n) > maxFileSize || pos+uint64(n) < pos {
		return errno(efbig)
	}
	if !x.unshare() {
		return errno(enospc)
	}
	done := uintptr(0)
	for done < n {
		o := pos + uint64(done)
		k := min(n-done, pageSize-uintptr(o&pageMask))
		b := x.block(o, true)
		if b == 0 {
			if done == 0 {
				return errno(enospc)
			}
			break
		}
		if !userCopyIn(b+uintptr(o&pageMask), buf+done, k) {
			return errno(efault)
		}
		done += k
		x.size = max(x.size, o+uint64(k))
	}
	x.mtime = uint64(nanotime()) + wallBase()
	return uint64(done)
}
