package main

// Page faults of the program: demand-zero pages, copies of pristine image pages, and running out of memory.

var (
	nFaults uint64
	oomTold bool
	oomNow  bool // the fault that is being handled found no memory
)

// Bits of a page fault's error code.
const (
	faultPresent = 1
	faultWrite   = 2
	faultFetch   = 16
)

// pageFault makes the page at addr usable as err asks, or reports false: the program's own mistake.
func pageFault(addr uintptr, err uint64) bool {
	if addr >= userTop {
		return false
	}
	i := vmaFind(addr)
	if i >= nVMAs || addr < vmas[i].start {
		return false
	}
	v := &vmas[i]
	if v.prot == 0 || err&faultWrite != 0 && v.prot&protWrite == 0 || err&faultFetch != 0 && v.prot&protExec == 0 {
		return false
	}
	nFaults++
	va := addr &^ pageMask
	e := pte(va, true)
	if e == 0 {
		return outOfMemory()
	}
	old := *p64(e)
	switch {
	case old&pteP != 0:
		if err&faultWrite == 0 || old&pteW != 0 {
			// The entry allows it, so the CPU went by an older one: rights that grow need no flush (SDM vol. 3, 4.10.4.3).
			invlpg(va)
			return err&faultFetch == 0 || old&pteNX == 0
		}
		if v.kind != vmaImage || old&pteShared == 0 {
			return false
		}
		return copyPristine(v, va, e, uintptr(old&pteFrame))
	case v.kind == vmaDevice:
		return false
	case v.kind == vmaImage:
		pa := segmentPage(int(v.index), va)
		if pa == 0 {
			break
		}
		if err&faultWrite != 0 {
			return copyPristine(v, va, e, pa)
		}
		*p64(e) = uint64(pa) | protBits(v.prot)&^pteW | pteShared
		return true
	}
	p := userPage()
	if p == 0 {
		return outOfMemory()
	}
	*p64(e) = uint64(p) | protBits(v.prot)
	return true
}

// copyPristine gives the program a page of its own with the content of the image's.
func copyPristine(v *vma, va, e, from uintptr) bool {
	p := userPage()
	if p == 0 {
		return outOfMemory()
	}
	move(directMap+p, directMap+from, pageSize)
	*p64(e) = uint64(p) | protBits(v.prot)
	invlpg(va)
	return true
}

// userPage is a page for the program. The last ones are kept until it has been told that memory is out, so that Go
// can print its goroutines.
func userPage() uintptr {
	if freePages <= oomKeep && !oomTold {
		return 0
	}
	return allocPage()
}

func outOfMemory() bool {
	putString("morgana: out of memory: all ")
	putDec(totalPages * 4)
	putString(" KiB in use; give the domain more (memory= in its configuration)\n")
	if oomTold {
		die("out of memory again while the program was dying")
	}
	oomTold = true
	oomNow = true
	return false
}
