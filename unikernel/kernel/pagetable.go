package main

// Page tables. The low half is the program's; the upper half is the direct map and the kernel image.

const (
	pteP  = 1 << 0
	pteW  = 1 << 1
	pteU  = 1 << 2
	ptePS = 1 << 7
	pteG  = 1 << 8
	// Bits that the CPU leaves to us: whose the page is. Without one it belongs to the address space.
	pteShared = 1 << 9  // the image's, a grant's, the arena's: not freed with the mapping
	pteGrant  = 1 << 10 // a frame of the grant window: unmapping must end the mapping in Xen too
	pteNX     = 1 << 63

	pteFrame = 0x000f_ffff_ffff_f000 // allocBits lie above
)

var (
	pml4      uintptr // physical
	tableUsed uint64  // pages that hold the program's tables
)

// pte returns the address of the leaf entry for the user address va, 0 if there is none and alloc is false or memory
// is out.
func pte(va uintptr, alloc bool) uintptr {
	t := pml4
	for sh := uintptr(39); sh > 12; sh -= 9 {
		e := p64(directMap + t + (va>>sh&511)*8)
		if *e == 0 {
			if !alloc {
				return 0
			}
			n := allocPage()
			if n == 0 {
				return 0
			}
			tableUsed++
			*e = uint64(n) | pteP | pteW | pteU
		}
		t = uintptr(*e & pteFrame)
	}
	return directMap + t + (va>>12&511)*8
}

// mapPage enters one page; false when memory for tables is out.
func mapPage(va, pa uintptr, flags uint64) bool {
	e := pte(va, true)
	if e == 0 {
		return false
	}
	*p64(e) = uint64(pa) | flags
	return true
}

// nextMapped returns the first address in [a, e) whose leaf entry is in use, and that entry; it skips absent tables.
func nextMapped(a, e uintptr) (uintptr, uintptr) {
	for a < e {
		t := pml4
		sh := uintptr(39)
		for ; sh > 12; sh -= 9 {
			v := *p64(directMap + t + (a>>sh&511)*8)
			if v == 0 {
				break
			}
			t = uintptr(v & pteFrame)
		}
		if sh > 12 {
			a = (a>>sh + 1) << sh
			continue
		}
		ent := directMap + t + (a>>12&511)*8
		if *p64(ent) != 0 {
			return a, ent
		}
		a += pageSize
	}
	return e, 0
}

// unmapRange drops the pages in [a, e) and frees those that belong to the address space.
func unmapRange(a, e uintptr) {
	for {
		va, ent := nextMapped(a, e)
		if ent == 0 {
			break
		}
		v := *p64(ent)
		*p64(ent) = 0
		invlpg(va)
		pa := uintptr(v & pteFrame)
		switch {
		case v&pteGrant != 0:
			grantUnmapLater(pa)
		case v&pteAlloc != 0:
			allocUnmapped(int(v >> allocBits & (maxAllocs - 1)))
		case v&pteShared == 0:
			freePage(pa)
		}
		a = va + pageSize
	}
	grantUnmapFlush()
}

// protectRange gives the pages that are present in [a, e) new rights.
func protectRange(a, e uintptr, prot uint32) {
	for {
		va, ent := nextMapped(a, e)
		if ent == 0 {
			return
		}
		v := *p64(ent)&^(pteP|pteU|pteW|pteNX) | protBits(prot)
		if v&pteShared != 0 && v&pteGrant == 0 && imagePage(uintptr(v&pteFrame)) {
			v &^= pteW // pristine: copied at the first write
		}
		*p64(ent) = v
		invlpg(va)
		a = va + pageSize
	}
}

// protBits are the entry bits for mmap's rights. Rights none keeps the page without its present bit.
func protBits(prot uint32) uint64 {
	f := uint64(0)
	if prot&(protRead|protWrite|protExec) != 0 {
		f = pteP | pteU
	}
	if prot&protWrite != 0 {
		f |= pteW
	}
	if prot&protExec == 0 {
		f |= pteNX
	}
	return f
}

// freeUserTables gives back the tables of the low half; the pages must be unmapped.
func freeUserTables() {
	freeTables(pml4, 39, 256)
	loadCR3(readCR3())
}

func freeTables(t uintptr, sh uintptr, n uintptr) {
	for i := uintptr(0); i < n; i++ {
		e := p64(directMap + t + i*8)
		if *e == 0 {
			continue
		}
		c := uintptr(*e & pteFrame)
		if sh > 21 {
			freeTables(c, sh-9, 512)
		}
		*e = 0
		freePage(c)
		tableUsed--
	}
}
