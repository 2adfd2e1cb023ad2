package main

// The grant table, version 1 (grant_table.h), and the frames that grants of other domains are mapped into.

const (
	grantMap       = 0
	grantUnmap     = 1
	grantCopy      = 5
	grantQuerySize = 6

	gtfPermit   = 1
	gtfReadOnly = 4
	gtfReading  = 8
	gtfWriting  = 16

	gntHostMap  = 2
	gntReadOnly = 4

	firstGrant        = 8 // below: the tool stack's
	grantsAFrame      = pageSize / 8
	maxGrantFrames    = 64
	grantWindowPages  = 65536
	handlesAPage      = pageSize / 4
	noHandle          = 0xffffffff
	maxGrantBatch     = 64
	maxPagesAGrantMap = 1024
)

var (
	grantFrames  [maxGrantFrames]uintptr // kernel addresses
	grantNotes   [maxGrantFrames]uintptr // a page beside each: what we know of each reference, u64 each
	nGrantFrames int
	maxFrames    int    // what Xen allows
	grantFree    uint32 // first free reference, 0 none
	nShared      uint64
	nMapped      uint64

	grantWindow  uintptr // guest-physical start of the frames without RAM
	windowBits   [grantWindowPages / 64]uint64
	windowHint   int
	handlePages  [grantWindowPages / handlesAPage]uintptr
	grantOps     [maxGrantBatch * 5]uint64 // hypercall arguments
	nUnmapQueued int
)

func grantEntry(ref uint32) uintptr {
	return grantFrames[ref/grantsAFrame] + uintptr(ref%grantsAFrame)*8
}

// grantChain is the reference that follows ref in its list: of free ones, or of an allocation.
func grantChain(ref uint32) *uint32 {
	return p32(grantNotes[ref/grantsAFrame] + uintptr(ref%grantsAFrame)*8)
}

// grantPage is the page number of what ref shares. The table's own says the same until a suspend voids it.
func grantPage(ref uint32) *uint32 {
	return p32(grantNotes[ref/grantsAFrame] + uintptr(ref%grantsAFrame)*8 + 4)
}

// growGrants adds a frame to the table.
func growGrants() bool {
	if maxFrames == 0 {
		hyperArgs[0], hyperArgs[1] = domSelf, 0
		if hyper(hvGrantOp, grantQuerySize, hyperArg(), 1) != 0 {
			return false
		}
		maxFrames = min(int(hyperArgs[1]&0xffffffff), maxGrantFrames)
	}
	if nGrantFrames >= maxFrames || !haveRoom(2) {
		return false
	}
	f := allocPage()
	hyperArgs[0], hyperArgs[1], hyperArgs[2] = domSelf|mapSpaceGrantTable<<32, uint64(nGrantFrames), uint64(f>>12)
	if hyper(hvMemoryOp, memAddToPhysmap, hyperArg(), 0) != 0 {
		freePage(f)
		return false
	}
	grantFrames[nGrantFrames] = directMap + f
	grantNotes[nGrantFrames] = directMap + allocPage()
	first := uint32(nGrantFrames) * grantsAFrame
	nGrantFrames++
	for r := first + grantsAFrame; r > max(first, firstGrant); r-- {
		*grantChain(r - 1) = grantFree
		grantFree = r - 1
	}
	return true
}

// reconnectGrants maps the table again after a suspend. What was shared and what was mapped is void: the domain and its
// peers may have other numbers now.
func reconnectGrants() {
	for i := 0; i < nGrantFrames; i++ {
		addToPhysmap(mapSpaceGrantTable, uint64(i), grantFrames[i]-directMap)
	}
	for i := range handlePages {
		for k := uintptr(0); handlePages[i] != 0 && k < handlesAPage; k++ {
			*p32(handlePages[i] + k*4) = noHandle
		}
	}
	nMapped = 0
}

// grantShare makes a reference to the frame at pa; 0 when none is left.
func grantShare(dom uint16, pa uintptr, readOnly bool) uint32 {
	if grantFree == 0 && !growGrants() {
		return 0
	}
	r := grantFree
	grantFree = *grantChain(r)
	e := grantEntry(r)
	fl := uint32(gtfPermit)
	if readOnly && !defective("write-read-only-grant") {
		fl |= gtfReadOnly
	}
	*p32(e + 4) = uint32(pa >> 12)
	*grantPage(r) = uint32(pa >> 12)
	xchg32(e, fl|uint32(dom)<<16)
	nShared++
	return r
}

// grantEnd takes a reference back; false while the peer has it mapped.
func grantEnd(r uint32) bool {
	e := grantEntry(r)
	for {
		fl := uint16(load32(e))
		if fl&(gtfReading|gtfWriting) != 0 && !defective("reuse-mapped-page") {
			return false
		}
		if cas16(e, fl, 0) {
			break
		}
	}
	*p32(e + 4) = 0
	*grantChain(r) = grantFree
	grantFree = r
	nShared--
	return true
}

// windowTake finds n frames in a row in the window; -1 if there are none.
func windowTake(n int) int {
	for pass := 0; pass < 2; pass++ {
		run := 0
		i := windowHint
		if pass == 1 {
			i = 0
		}
		for ; i < grantWindowPages; i++ {
			if run == 0 && i%64 == 0 && windowBits[i/64] == ^uint64(0) {
				i += 63
				continue
			}
			if windowBits[i/64]&(1<<(i%64)) != 0 {
				run = 0
				continue
			}
			if run++; run == n {
				for j := i - n + 1; j <= i; j++ {
					windowBits[j/64] |= 1 << (j % 64)
				}
				windowHint = i + 1
				return i - n + 1
			}
		}
	}
	return -1
}

func windowFree(i int) {
	windowBits[i/64] &^= 1 << (i % 64)
	windowHint = min(windowHint, i)
}

// handleOf returns where the mapping handle of window frame i is kept; 0 when memory is out.
func handleOf(i int) uintptr {
	p := &handlePages[i/handlesAPage]
	if *p == 0 {
		if !haveRoom(1) {
			return 0
		}
		*p = directMap + allocPage()
	}
	return *p + uintptr(i%handlesAPage)*4
}

// grantMapBatch maps refs[i] of domains at list (u64: domid | ref<<32) to window frames from w on; false if one failed,
// then none is mapped.
func grantMapBatch(list uintptr, n, w int, readOnly bool) bool {
	ok := true
	for i := 0; i < n; i++ {
		if h := handleOf(w + i); h == 0 {
			return false
		} else {
			*p32(h) = noHandle
		}
	}
	fl := uint64(gntHostMap)
	if readOnly {
		fl |= gntReadOnly
	}
	for i := 0; i < n; i += maxGrantBatch {
		k := min(maxGrantBatch, n-i)
		a := uintptr(0)
		for j := 0; j < k; j++ {
			// struct gnttab_map_grant_ref: host_addr, flags, ref, dom, status, handle, dev_bus_addr
			v := *p64(list + uintptr(i+j)*8)
			o := j * 4
			grantOps[o] = uint64(grantWindow) + uint64(w+i+j)*pageSize
			grantOps[o+1] = fl | v>>32<<32
			grantOps[o+2] = v & 0xffff
			grantOps[o+3] = 0
		}
		a = addrOf64(&grantOps[0])
		r := hyper(hvGrantOp, grantMap, a, uintptr(k))
		for j := 0; j < k; j++ {
			o := j * 4
			if status := int16(grantOps[o+2] >> 16); r != 0 || status != 0 {
				ok = false
				continue
			}
			*p32(handleOf(w + i + j)) = uint32(grantOps[o+2] >> 32)
			nMapped++
		}
	}
	if !ok {
		for i := 0; i < n; i++ {
			grantUnmapLater(grantWindow + uintptr(w+i)*pageSize)
		}
		grantUnmapFlush()
	}
	return ok
}

// grantUnmapLater queues the unmapping of a window frame and frees the frame.
func grantUnmapLater(pa uintptr) {
	i := int((pa - grantWindow) / pageSize)
	h := handleOf(i)
	if *p32(h) != noHandle {
		// struct gnttab_unmap_grant_ref: host_addr, dev_bus_addr, handle, status
		o := nUnmapQueued * 3
		grantOps[o], grantOps[o+1], grantOps[o+2] = uint64(pa), 0, uint64(*p32(h))
		*p32(h) = noHandle
		nMapped--
		if nUnmapQueued++; nUnmapQueued == maxGrantBatch {
			grantUnmapFlush()
		}
	}
	windowFree(i)
}

func grantUnmapFlush() {
	if nUnmapQueued == 0 {
		return
	}
	n := nUnmapQueued
	nUnmapQueued = 0
	hyper(hvGrantOp, grantUnmap, addrOf64(&grantOps[0]), uintptr(n))
}
