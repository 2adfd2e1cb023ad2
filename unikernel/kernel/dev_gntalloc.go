package main

import "unsafe"

// /dev/xen/gntalloc: pages that the program shares, with Linux's calls (include/uapi/xen/gntalloc.h). Unlike Linux,
// DEALLOC_GREF says EBUSY when a peer still maps a page: the allocation is given up all the same, and its pages come
// back when they are unmapped.

const (
	gntallocAlloc   = 24<<16 | 'G'<<8 | 5
	gntallocDealloc = 16<<16 | 'G'<<8 | 6
	gntallocNotify  = 16<<16 | 'G'<<8 | 7

	maxAllocs = 2048 // the number fits the spare bits of a page-table entry
	allocBits = 52
	pteAlloc  = 1 << 11
)

type allocation struct {
	first  uint32 // first reference; the others follow in grantChain
	count  uint32
	mapped uint32 // pages in the program's address space
	live   bool   // the program has not given it up
	used   bool
}

var (
	allocs     [maxAllocs]allocation
	allocHint  int
	nParked    uint64 // given up, still mapped by a peer
	parkedTurn int
)

func gntallocIoctl(cmd, arg uintptr) uint64 {
	var a [2]uint64
	if !userCopyIn(uintptr(unsafe.Pointer(&a)), arg, 16) {
		return errno(efault)
	}
	switch cmd {
	case gntallocAlloc:
		// struct { u16 domid, flags; u32 count; u64 index; u32 gref_ids[] }
		return allocNew(uint16(a[0]), a[0]>>16&1 == 0, uint32(a[0]>>32), arg)
	case gntallocDealloc:
		id := int(a[0] >> 24)
		if id >= maxAllocs || !allocs[id].live || uint32(a[1]) != allocs[id].count || a[0]&(1<<24-1) != 0 {
			return errno(einval)
		}
		allocs[id].live = false
		if !allocSweep(id) && allocs[id].mapped == 0 {
			nParked += uint64(allocs[id].count)
			return errno(ebusy)
		}
		return 0
	case gntallocNotify:
		return 0
	}
	return errno(enotty)
}

func allocNew(dom uint16, readOnly bool, n uint32, arg uintptr) uint64 {
	if n == 0 || n > maxPagesAGrantMap {
		return errno(einval)
	}
	sweepParked()
	if !haveRoom(uint64(n) + 2) {
		return errno(enomem)
	}
	id := 0
	for i := 0; i < maxAllocs; i++ {
		if c := (allocHint + i) % maxAllocs; c != 0 && !allocs[c].used {
			id = c
			break
		}
	}
	if id == 0 {
		return errno(enospc)
	}
	al := &allocs[id]
	*al = allocation{used: true, live: true}
	for i := uint32(0); i < n; i++ {
		pa := uintptr(0)
		if haveRoom(2) {
			pa = allocPage()
		}
		if pa != 0 && defective("dirty-pages") {
			*p64(directMap + pa) = 0x6b6e756a
		}
		r := uint32(0)
		if pa != 0 {
			if r = grantShare(dom, pa, readOnly); r == 0 {
				freePage(pa)
			}
		}
		if r == 0 {
			al.live = false
			allocSweep(id)
			return errno(enospc)
		}
		*grantChain(r) = al.first
		al.first = r
		al.count++
	}
	// The chain is in reverse: page i is the reference at depth n-1-i.
	r := al.first
	for i := n; i > 0; i-- {
		if !userStore32(arg+16+uintptr(i-1)*4, r) {
			al.live = false
			allocSweep(id)
			return errno(efault)
		}
		r = *grantChain(r)
	}
	allocHint = id + 1
	if !userStore64(arg+8, uint64(id)<<24) {
		return errno(efault)
	}
	return 0
}

// allocSweep frees what can be freed of an allocation that was given up; false while something is in use.
func allocSweep(id int) bool {
	al := &allocs[id]
	if al.mapped != 0 {
		return false
	}
	r := al.first
	al.first = 0
	left := uint32(0)
	for r != 0 {
		next := *grantChain(r)
		pa := uintptr(*grantPage(r)) << 12
		if grantEnd(r) {
			freePage(pa)
		} else {
			*grantChain(r) = al.first
			al.first = r
			left++
		}
		r = next
	}
	al.count = left
	al.used = left != 0
	return left == 0
}

// sweepParked looks at a few allocations that peers held on to.
func sweepParked() {
	for i := 0; i < 64 && nParked > 0; i++ {
		parkedTurn = (parkedTurn + 1) % maxAllocs
		if al := &allocs[parkedTurn]; al.used && !al.live && al.mapped == 0 {
			was := uint64(al.count)
			allocSweep(parkedTurn)
			nParked -= was - uint64(al.count)
		}
	}
}

// allocMap enters pages of allocation id in the program's address space.
func allocMap(v vma, off uint64) uint64 {
	id, first, n := int(off>>24), uint32(off>>12&0xfff), uint32((v.end-v.start)/pageSize)
	if id >= maxAllocs || !allocs[id].live || first+n > allocs[id].count {
		return errno(einval)
	}
	al := &allocs[id]
	v.kind, v.maxProt = vmaDevice, protRead|protWrite
	v.prot &= v.maxProt
	r := al.first
	for i := al.count; i > 0; i-- {
		if p := i - 1; p >= first && p < first+n {
			pa := uintptr(*grantPage(r)) << 12
			fl := protBits(v.prot) | pteShared | pteAlloc | uint64(id)<<allocBits
			if !mapPage(v.start+uintptr(p-first)*pageSize, pa, fl) {
				unmapRange(v.start, v.end)
				return errno(enomem)
			}
			al.mapped++
		}
		r = *grantChain(r)
	}
	vmaInsert(v)
	return uint64(v.start)
}

// allocUnmapped notes that a page of allocation id left the address space.
func allocUnmapped(id int) {
	al := &allocs[id]
	if al.mapped--; al.mapped == 0 && !al.live && !allocSweep(id) {
		nParked += uint64(al.count)
	}
}
