package main

import (
	"unsafe"

	"morgana/unikernel/internal/abi"
)

// Arenas: named pages that a restart in place leaves alone, with the grants made of them; and the restart itself.

const (
	maxArenas   = 64
	arenaBase   = 0x7d00_0000_0000 // fixed, so that what an arena holds may point into it
	arenaTop    = 0x7e00_0000_0000
	maxRestarts = 5 // within restartWindow; more is a storm, and the domain crashes
)

const restartWindow = 10_000_000_000 // ns

type arena struct {
	name  [32]byte
	start uintptr
	pages uint64
	list  uintptr // kernel address of a chain of pages of frame addresses: 511 and the next page
}

var (
	arenas         [maxArenas]arena
	nArenas        int
	arenaPages     uint64
	arenaGrants    [1024]uint32 // references that SysArenaGrant made
	generation     uint64
	restartOnFatal bool
	restartTimes   [maxRestarts]int64
)

func (a *arena) named(key *[32]byte) bool {
	for i := range key {
		if a.name[i] != key[i] {
			return false
		}
	}
	return true
}

// frame returns where the address of page k of an arena stands.
func (a *arena) frame(k uint64) *uint64 {
	l := a.list
	for ; k >= 511; k -= 511 {
		l = uintptr(*p64(l + 511*8))
	}
	return p64(l + uintptr(k)*8)
}

func sysArena(name, n, pages uintptr) uint64 {
	var key [32]byte
	if n == 0 || n >= 32 || pages == 0 || pages > 1<<22 {
		return errno(einval)
	}
	if !userCopyIn(addrOf8(&key[0]), name, n) {
		return errno(efault)
	}
	for i := 0; i < nArenas; i++ {
		if a := &arenas[i]; a.named(&key) {
			if a.pages != uint64(pages) {
				return errno(eexist)
			}
			return uint64(a.start)
		}
	}
	if nArenas == maxArenas {
		return errno(enospc)
	}
	need := uint64(pages) + uint64(pages)/511 + 1
	if !haveRoom(need + need/256 + 4) {
		return errno(enomem)
	}
	a := &arenas[nArenas]
	start := uintptr(arenaBase)
	if nArenas > 0 {
		last := &arenas[nArenas-1]
		start = last.start + uintptr(last.pages+1)*pageSize // a guard page between
	}
	*a = arena{name: key, start: start, pages: uint64(pages)}
	a.list = directMap + allocPage()
	l := a.list
	for k := uint64(0); k < a.pages; k++ {
		if k > 0 && k%511 == 0 {
			next := directMap + allocPage()
			*p64(l + 511*8) = uint64(next)
			l = next
		}
		*p64(l + uintptr(k%511)*8) = uint64(allocPage())
	}
	nArenas++
	arenaPages += a.pages
	if !arenaMap(a) {
		return errno(enomem)
	}
	return uint64(a.start)
}

func arenaMap(a *arena) bool {
	if !vmaRoom() {
		return false
	}
	const rw = protRead | protWrite
	vmaInsert(vma{start: a.start, end: a.start + uintptr(a.pages)*pageSize, prot: rw, maxProt: rw, kind: vmaDevice})
	l := a.list
	for k := uint64(0); k < a.pages; k++ {
		if k > 0 && k%511 == 0 {
			l = uintptr(*p64(l + 511*8))
		}
		if !mapPage(a.start+uintptr(k)*pageSize, uintptr(*p64(l + uintptr(k%511)*8)), protBits(rw)|pteShared) {
			return false
		}
	}
	return true
}

// mapArenas shows every arena to a program that starts.
func mapArenas() {
	for i := 0; i < nArenas; i++ {
		if !arenaMap(&arenas[i]) {
			die("no memory to map an arena again")
		}
	}
}

// sysArenaGrant shares the arena page at va with dom.
func sysArenaGrant(va, dom, flags uintptr) uint64 {
	if !onXen {
		return errno(enosys)
	}
	for i := 0; i < nArenas; i++ {
		a := &arenas[i]
		if va&pageMask != 0 || va < a.start || va >= a.start+uintptr(a.pages)*pageSize {
			continue
		}
		for k := range arenaGrants {
			if arenaGrants[k] != 0 {
				continue
			}
			r := grantShare(uint16(dom), uintptr(*a.frame(uint64(va-a.start) / pageSize)), flags&1 != 0)
			if r == 0 {
				return errno(enospc)
			}
			arenaGrants[k] = r
			return uint64(r)
		}
		return errno(enospc)
	}
	return errno(efault)
}

func sysArenaEnd(ref uintptr) uint64 {
	for k := range arenaGrants {
		if ref != 0 && uintptr(arenaGrants[k]) == ref {
			if !grantEnd(uint32(ref)) {
				return errno(ebusy)
			}
			arenaGrants[k] = 0
			return 0
		}
	}
	return errno(enoent)
}

func sysEventKeep(port, keep uintptr) uint64 {
	if port >= maxPorts || portOwner[port] < portFile {
		return errno(ebadf)
	}
	if keep != 0 {
		portKeep[port/64] |= 1 << (port % 64)
	} else {
		portKeep[port/64] &^= 1 << (port % 64)
	}
	return 0
}

// restart starts the program again from its pristine image in the same domain. It does not return.
func restart(why string) {
	now := nanotime()
	oldest := 0
	for i := range restartTimes {
		if restartTimes[i] < restartTimes[oldest] {
			oldest = i
		}
	}
	if why != "" {
		if t := restartTimes[oldest]; t != 0 && now-t < restartWindow {
			putString("morgana: restarted 5 times within 10 s; giving up\n")
			shutdownDomain(shutdownCrash)
		}
		restartTimes[oldest] = now
		putString("morgana: ")
		putString(why)
		putString("; starting it again in place, generation ")
		putDec(generation + 1)
		putString("\n")
	}
	generation++
	for fd := uintptr(0); fd < maxFDs; fd++ {
		if fds[fd] != 0 {
			sysClose(fd)
		}
	}
	for i := 0; i < nthreads; i++ {
		if t := threadAt(threads[i]); t.state != stFree {
			freeThread(t)
		}
	}
	unmapRange(0, userTop)
	nVMAs = 0
	freeUserTables()
	freeObjects()
	for id := range allocs {
		if al := &allocs[id]; al.live {
			al.live = false
			if !allocSweep(id) {
				nParked += uint64(al.count)
			}
		}
	}
	sweepParked()
	dropFiles()
	for i := range sigActions {
		sigActions[i] = sigaction{}
	}
	procPend, profNext, profInterval = 0, 0, 0
	oomTold, oomNow = false, false
	restartOnFatal = false
	setupFiles()
	setupRoot()
	restartOnStackTop()
}

// dropFiles frees the file system, so that the program finds it as at its first start.
func dropFiles() {
	for p := range inodePages {
		if inodePages[p] == 0 {
			continue
		}
		for k := uint32(0); k < inodesAPage; k++ {
			i := uint32(p)*inodesAPage + k
			if i >= rootInode && inodeAt(i).mode != 0 {
				inodeAt(i).archive = 0
				inodeTruncate(i, 0)
			}
		}
		freePage(inodePages[p] - directMap)
		inodePages[p] = 0
	}
	for i := range inodeHash {
		inodeHash[i] = 0
	}
	freeInode = 0
}

func sysInfo(buf, n uintptr) uint64 {
	in := abi.Info{
		Magic: abi.InfoMagic, Generation: generation, BootNS: uint64(bootTime), MainNS: uint64(mainTime),
		Entropy: entropy, MaxPages: totalPages,
	}
	if onXen {
		in.OnXen = 1
	}
	const version = "morgana 1"
	for i := 0; i < len(version); i++ {
		in.Kernel[i] = version[i]
	}
	if !userCopyOut(buf, uintptr(unsafe.Pointer(&in)), min(n, unsafe.Sizeof(in))) {
		return errno(efault)
	}
	return 0
}

func sysCounters(buf, n uintptr) uint64 {
	c := abi.Counters{
		Syscalls: nSyscalls, Interrupts: nInterrupts, Faults: nFaults, Switches: nSwitches,
		TotalPages: totalPages, FreePages: freePages, MinFreePages: minFree,
		VMAs: uint64(nVMAs), Threads: nlive, Files: nFiles,
		Hypercalls: nHypercall, Events: nEvents,
		ArenaPages: arenaPages, GrantsShared: nShared, GrantsMapped: nMapped, ParkedPages: nParked,
	}
	if !userCopyOut(buf, uintptr(unsafe.Pointer(&c)), min(n, unsafe.Sizeof(c))) {
		return errno(efault)
	}
	return 0
}
