package main

import "unsafe"

// /dev/xen/gntdev: grants of other domains, with Linux's calls (include/uapi/xen/gntdev.h): an ioctl names the
// references, mmap at the index that it returns maps them, munmap unmaps.

const (
	gntdevMap       = 24<<16 | 'G'<<8 | 0
	gntdevUnmap     = 16<<16 | 'G'<<8 | 1
	gntdevGetOffset = 24<<16 | 'G'<<8 | 2
	gntdevSetMax    = 4<<16 | 'G'<<8 | 3
	gntdevNotify    = 16<<16 | 'G'<<8 | 7
	gntdevCopy      = 16<<16 | 'G'<<8 | 8

	objectsAPage = pageSize / 32
	maxObjects   = 64 * objectsAPage
)

// A mapObject is what MAP_GRANT_REF made: the references wait in pages until mmap.
type mapObject struct {
	list  [2]uintptr // kernel addresses of pages of u64: domid | ref<<32
	count uint32
	used  uint32
	_     uint64
}

var (
	objectPages [maxObjects / objectsAPage]uintptr
	objectHint  int // below it all are taken
)

func objectAt(id int) *mapObject {
	p := objectPages[id/objectsAPage]
	if p == 0 {
		return nil
	}
	return (*mapObject)(unsafe.Add(nil, p+uintptr(id%objectsAPage)*32))
}

func gntdevIoctl(cmd, arg uintptr) uint64 {
	var a [2]uint64
	if cmd != gntdevSetMax && !userCopyIn(uintptr(unsafe.Pointer(&a)), arg, 16) {
		return errno(efault)
	}
	switch cmd {
	case gntdevMap:
		return objectNew(uint32(a[0]), arg)
	case gntdevUnmap:
		id := int(a[0] >> 24)
		if id >= maxObjects || a[0]&(1<<24-1) != 0 {
			return errno(einval)
		}
		o := objectAt(id)
		if o == nil || o.used == 0 || o.count != uint32(a[1]) {
			return errno(enoent)
		}
		objectFree(o)
		objectHint = min(objectHint, id)
		return 0
	case gntdevSetMax, gntdevNotify:
		return 0
	case gntdevCopy:
		return copySegments(uint32(a[0]), uintptr(a[1]))
	}
	return errno(enotty)
}

func objectNew(n uint32, arg uintptr) uint64 {
	if n == 0 || n > maxPagesAGrantMap {
		return errno(einval)
	}
	if !haveRoom(4) {
		return errno(enomem)
	}
	for id := max(objectHint, 1); id < maxObjects; id++ {
		if objectPages[id/objectsAPage] == 0 {
			objectPages[id/objectsAPage] = directMap + allocPage()
		}
		o := objectAt(id)
		if o.used != 0 {
			continue
		}
		o.used, o.count = 1, n
		for i := uint32(0); i < n; i += 512 {
			o.list[i/512] = directMap + allocPage()
			k := min(512, n-i)
			if !userCopyIn(o.list[i/512], arg+16+uintptr(i)*8, uintptr(k)*8) {
				objectFree(o)
				return errno(efault)
			}
		}
		if !userStore64(arg+8, uint64(id)<<24) {
			objectFree(o)
			return errno(efault)
		}
		objectHint = id + 1
		return 0
	}
	return errno(enospc)
}

func objectFree(o *mapObject) {
	for i := range o.list {
		if o.list[i] != 0 {
			freePage(o.list[i] - directMap)
			o.list[i] = 0
		}
	}
	o.used = 0
}

// freeObjects drops them all, at a restart.
func freeObjects() {
	for id := 1; id < maxObjects; id++ {
		if o := objectAt(id); o != nil && o.used != 0 {
			objectFree(o)
		}
	}
	objectHint = 0
}

// objectMap maps the object's grants; v is the whole of it.
func objectMap(v vma, off uint64) uint64 {
	id := int(off >> 24)
	if id >= maxObjects || off&(1<<24-1) != 0 {
		return errno(einval)
	}
	o := objectAt(id)
	n := int((v.end - v.start) / pageSize)
	if o == nil || o.used == 0 || n != int(o.count) {
		return errno(einval)
	}
	w := windowTake(n)
	if w < 0 {
		return errno(enospc)
	}
	v.kind, v.maxProt = vmaDevice, protRead
	if v.prot&protWrite != 0 {
		v.maxProt |= protWrite
	}
	v.prot &= v.maxProt
	ro := v.prot&protWrite == 0
	first := min(n, 512)
	if !grantMapBatch(o.list[0], first, w, ro) {
		windowGive(w+first, n-first)
		return errno(einval)
	}
	if n > first && !grantMapBatch(o.list[1], n-first, w+first, ro) {
		for i := 0; i < first; i++ {
			grantUnmapLater(grantWindow + uintptr(w+i)*pageSize)
		}
		grantUnmapFlush()
		return errno(einval)
	}
	for i := 0; i < n; i++ {
		pa := grantWindow + uintptr(w+i)*pageSize
		if !mapPage(v.start+uintptr(i)*pageSize, pa, protBits(v.prot)|pteShared|pteGrant) {
			for ; i < n; i++ {
				grantUnmapLater(grantWindow + uintptr(w+i)*pageSize)
			}
			unmapRange(v.start, v.end)
			return errno(enomem)
		}
	}
	vmaInsert(v)
	return uint64(v.start)
}

func windowGive(w, n int) {
	for i := 0; i < n; i++ {
		windowFree(w + i)
	}
}

// mmapFile serves mmap of a descriptor: the grant devices, and a private copy of a regular file.
func mmapFile(v vma, flags uint64, fd int, off uint64) uint64 {
	i := fileOf(uintptr(fd))
	if i < 0 {
		return errno(ebadf)
	}
	f := &files[i]
	switch f.kind {
	case kindGntalloc, kindGntdev:
		if flags&mapShared == 0 {
			return errno(einval)
		}
		vmaRemove(v.start, v.end)
		unmapRange(v.start, v.end)
		if f.kind == kindGntalloc {
			return allocMap(v, off)
		}
		return objectMap(v, off)
	case kindZero:
	case kindInode:
		if flags&mapShared != 0 && v.prot&protWrite != 0 {
			return errno(enodev)
		}
		if inodeAt(f.inode).mode&modeType != modeFile {
			return errno(eacces)
		}
		n := uint64(v.end - v.start)
		if !haveRoom(n/pageSize + 8) {
			return errno(enomem)
		}
		unmapRange(v.start, v.end)
		w := v
		w.prot = protRead | protWrite
		vmaInsert(w)
		if size := inodeAt(f.inode).size; off < size {
			inodeRead(f.inode, v.start, uintptr(min(n, size-off)), off)
		}
		vmaInsert(v)
		protectRange(v.start, v.end, v.prot)
		return uint64(v.start)
	default:
		return errno(enodev)
	}
	unmapRange(v.start, v.end)
	vmaInsert(v)
	return uint64(v.start)
}

// copySegments is GRANT_COPY: n struct gntdev_grant_copy_segment of 24 bytes. A local side that crosses a page takes
// two hypercall operations.
func copySegments(n uint32, segs uintptr) uint64 {
	for i := uint32(0); i < n; i++ {
		s := segs + uintptr(i)*24
		var g [3]uint64
		if !userCopyIn(uintptr(unsafe.Pointer(&g)), s, 24) {
			return errno(efault)
		}
		size, fl := uintptr(uint16(g[2])), uint16(g[2]>>16)
		status := int16(-1)
		if fl&3 == 0 || fl&^3 != 0 || size > pageSize {
			return errno(einval)
		}
		k := 0
		for done := uintptr(0); done < size || k == 0; {
			part := size - done
			// struct gnttab_copy: {u64 gmfn or ref; u16 domid, offset} source, dest; u16 len, flags; s16 status
			var op [5]uint64
			bad := false
			for side := 0; side < 2; side++ {
				v := g[side]
				if fl>>side&1 != 0 {
					op[side*2] = v & 0xffffffff
					op[side*2+1] = v>>48 | (v>>32&0xffff+uint64(done))<<16
					continue
				}
				va := uintptr(v) + done
				p := userPtr(va, side == 1)
				if p == 0 {
					bad = true
					break
				}
				part = min(part, pageSize-va&pageMask)
				op[side*2] = uint64((p - directMap) >> 12)
				op[side*2+1] = domSelf | uint64(va&pageMask)<<16
			}
			if bad {
				return errno(efault)
			}
			op[4] = uint64(part) | uint64(fl)<<16
			for j := range op {
				grantOps[k*5+j] = op[j]
			}
			k++
			done += part
			if part == 0 {
				break
			}
		}
		if hyper(hvGrantOp, grantCopy, addrOf64(&grantOps[0]), uintptr(k)) == 0 {
			status = 0
			for j := 0; j < k; j++ {
				if st := int16(grantOps[j*5+4] >> 32); st != 0 && !defective("copy-unchecked") {
					status = st
				}
			}
		}
		if !userCopyOut(s+20, uintptr(unsafe.Pointer(&status)), 2) {
			return errno(efault)
		}
	}
	return 0
}

func addrOf64(p *uint64) uintptr { return uintptr(unsafe.Pointer(p)) }
