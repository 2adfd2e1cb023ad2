package main

// mmap and its kin.

const (
	mapShared    = 0x01
	mapFixed     = 0x10
	mapAnonymous = 0x20
	mapFixedNo   = 0x100000 // MAP_FIXED_NOREPLACE
)

func pageUp(n uintptr) uintptr { return (n + pageMask) &^ pageMask }

func sysMmap(addr, n uintptr, prot uint32, flags uint64, fd int, off uint64) uint64 {
	if n == 0 || off&pageMask != 0 {
		return errno(einval)
	}
	n = pageUp(n)
	if n == 0 || n > userTop || !vmaRoom() {
		return errno(enomem)
	}
	addr, e := mmapPlace(addr, n, flags)
	if e != 0 {
		return e
	}
	v := vma{start: addr, end: addr + n, prot: prot & 7, maxProt: 7}
	if flags&mapAnonymous == 0 {
		return mmapFile(v, flags, fd, off)
	}
	unmapRange(addr, addr+n)
	vmaInsert(v)
	return uint64(addr)
}

// mmapPlace chooses the address: the hint where it is free, or the highest hole.
func mmapPlace(addr, n uintptr, flags uint64) (uintptr, uint64) {
	if flags&(mapFixed|mapFixedNo) != 0 {
		switch {
		case addr&pageMask != 0:
			return 0, errno(einval)
		case addr < userLow || !userRange(addr, n):
			return 0, errno(enomem)
		case flags&mapFixedNo != 0 && !vmaIsFree(addr, addr+n):
			return 0, errno(eexist)
		}
		return addr, 0
	}
	addr &^= pageMask
	if addr >= userLow && userRange(addr, n) && vmaIsFree(addr, addr+n) {
		return addr, 0
	}
	if addr = vmaPick(n); addr == 0 {
		return 0, errno(enomem)
	}
	return addr, 0
}

func sysMunmap(addr, n uintptr) uint64 {
	if addr&pageMask != 0 || n == 0 || !userRange(addr, n) {
		return errno(einval)
	}
	if !vmaRoom() {
		return errno(enomem)
	}
	n = pageUp(n)
	vmaRemove(addr, addr+n)
	unmapRange(addr, addr+n)
	return 0
}

func sysMadvise(addr, n uintptr, advice int32) uint64 {
	if addr&pageMask != 0 || !userRange(addr, n) {
		return errno(einval)
	}
	if advice != 4 && advice != 8 { // MADV_DONTNEED, MADV_FREE
		return 0
	}
	for a, e := addr, addr+pageUp(n); a < e; {
		i := vmaFind(a)
		if i >= nVMAs || vmas[i].start >= e {
			break
		}
		if vmas[i].kind != vmaDevice {
			unmapRange(max(a, vmas[i].start), min(e, vmas[i].end))
		}
		a = vmas[i].end
	}
	return 0
}

func sysMprotect(addr, n uintptr, prot uint32) uint64 {
	if addr&pageMask != 0 || !userRange(addr, n) || prot&^7 != 0 && prot&^7 != 0x01000000 {
		return errno(einval)
	}
	end := addr + pageUp(n)
	for a := addr; a < end; {
		i := vmaFind(a)
		if i >= nVMAs || vmas[i].start > a || !vmaRoom() {
			return errno(enomem)
		}
		v := vmas[i]
		if prot&^v.maxProt&7 != 0 {
			return errno(eacces)
		}
		v.start, v.end, v.prot = a, min(end, v.end), prot&7
		vmaInsert(v)
		protectRange(v.start, v.end, prot&7)
		a = v.end
	}
	return 0
}

// sysMincore says of each page whether it is in memory.
func sysMincore(addr, n, vec uintptr) uint64 {
	if addr&pageMask != 0 || !userRange(addr, n) {
		return errno(einval)
	}
	for a := addr; a < addr+n; a += pageSize {
		i := vmaFind(a)
		if i >= nVMAs || vmas[i].start > a {
			return errno(enomem)
		}
		b := byte(0)
		if e := pte(a, false); e != 0 && *p64(e)&pteP != 0 {
			b = 1
		}
		p := userPtr(vec, true)
		if p == 0 {
			return errno(efault)
		}
		*p8(p) = b
		vec++
	}
	return 0
}
