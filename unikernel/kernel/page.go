package main

// Frames of RAM: a free list threaded through the free pages, and regions that were never handed out.

const (
	pageSize  = 4096
	pageMask  = pageSize - 1
	directMap = 0xffff_8000_0000_0000 // where physical address 0 is, supervisor only
	oomKeep   = 32                    // pages kept back for the last words
)

type region struct{ next, end uintptr }

var (
	freeHead   uintptr // physical address of the first free page
	regions    [32]region
	nRegions   int
	freePages  uint64
	totalPages uint64
	minFree    uint64
	ballooned  uint64 // pages given back to Xen
)

// addRegion gives [a, e) but for [lo, hi), the image, to the allocator.
func addRegion(a, e, lo, hi uintptr) {
	if a < lo && e > lo {
		addRegion(a, lo, lo, hi)
		a = lo
	}
	if a >= lo && a < hi {
		a = hi
	}
	if a >= e || nRegions == len(regions) {
		return
	}
	regions[nRegions] = region{a, e}
	nRegions++
	totalPages += uint64(e-a) / pageSize
	freePages += uint64(e-a) / pageSize
	minFree = freePages
}

// allocPage returns the physical address of a zeroed page, 0 when there is none.
func allocPage() uintptr {
	p := freeHead
	if p != 0 {
		freeHead = uintptr(*p64(directMap + p))
	} else {
		for i := 0; i < nRegions; i++ {
			if r := &regions[i]; r.next < r.end {
				p = r.next
				r.next += pageSize
				break
			}
		}
	}
	if p == 0 {
		return 0
	}
	freePages--
	minFree = min(minFree, freePages)
	zero(directMap+p, pageSize)
	return p
}

func freePage(p uintptr) {
	*p64(directMap + p) = uint64(freeHead)
	freeHead = p
	freePages++
}

// haveRoom reports whether n pages can be taken without touching what the last words need.
func haveRoom(n uint64) bool { return n < freePages && freePages-n >= oomKeep }
