package main

import "morgana/unikernel/internal/abi"

// From the first Go instruction to the program's.

// A segment of the program, as the image has it.
type segment struct {
	vaddr, paddr, file, mem uintptr
	prot                    uint32
}

type ramRange struct {
	addr, size uint64
	kind       uint32
}

var (
	segments     [abi.MaxSegs]segment
	nSegments    int
	programEntry uint64
	programPhdr  uint64
	programPhnum uint64
	imageStart   uintptr // physical
	imageEnd     uintptr
	filesAt      uintptr // physical address of the archive
	filesLen     uintptr
	memmap       [64]ramRange
	nMemmap      int
)

// boot is called by entry64 with the addresses of hvm_start_info (arch-x86/hvm/start_info.h) and of the image's table.
func boot(si, tab uintptr) {
	tscAtBoot = rdtsc()
	setupTables()
	setupCPU()
	setupMemory(si, tab)
	setupXen()
	setupClock()
	bootTime = nanotime() - sinceBoot()
	setupVDSO()
	setupRandom()
	setupFiles()
	setupRoot()
	startLife()
	startProgram()
}

func setupMemory(si, tab uintptr) {
	// Copy what start_info points at before RAM is handed out: the tool stack puts it right behind the image.
	if *p32(si) != 0x336ec578 {
		die("this is not a PVH start: use type=\"pvh\" in the domain's configuration")
	}
	if c := uintptr(*p64(si + 24)); c != 0 {
		for *p8(c + uintptr(cmdlineLen)) != 0 {
			if cmdlineLen == maxCmdline {
				die("the command line is longer than 4096 bytes")
			}
			cmdline[cmdlineLen] = *p8(c + uintptr(cmdlineLen))
			cmdlineLen++
		}
	}
	if *p32(si + 4) > 0 {
		mp, n := uintptr(*p64(si + 40)), int(*p32(si + 48))
		for i := 0; i < n && i < len(memmap); i++ {
			memmap[i] = ramRange{*p64(mp), *p64(mp + 8), *p32(mp + 16)}
			mp += 24
			nMemmap++
		}
	}
	if nMemmap == 0 { // init-xenstore-domain tells Xen alone
		xenMemmap()
	}
	if nMemmap == 0 {
		die("the start information has no memory map; Xen 4.12 or later is needed")
	}
	readTable(tab)
	var top uint64
	for i := 0; i < nMemmap; i++ {
		m := &memmap[i]
		if m.kind != 1 {
			continue
		}
		a, e := pageUp(uintptr(m.addr)), uintptr(m.addr+m.size)&^pageMask
		addRegion(max(a, pageSize), e, imageStart, imageEnd)
		top = max(top, m.addr+m.size)
	}
	if freePages < 64 {
		die("hardly any memory is left beside the image; give the domain more (memory= in its configuration)")
	}
	// The grant window lies in guest frames that hold no RAM: above 4 GiB and above all of it.
	grantWindow = (max(uintptr(top), 4<<30) + 1<<30 - 1) &^ (1<<30 - 1)
	mapKernelHalf(tab)
}

// readTable copies the image tool's table.
func readTable(tab uintptr) {
	if *p64(tab) != abi.TableMagic {
		die("the image's table is of another version; build the image again")
	}
	imageStart, imageEnd = uintptr(*p64(tab + abi.TabStart)), uintptr(*p64(tab + abi.TabEnd))
	programEntry, programPhdr, programPhnum = *p64(tab + abi.TabEntry), *p64(tab + abi.TabPhdr), *p64(tab + abi.TabPhnum)
	filesAt, filesLen = uintptr(*p64(tab + abi.TabFiles)), uintptr(*p64(tab + abi.TabFilesLen))
	for i := range programName {
		programName[i] = *p8(tab + abi.TabName + uintptr(i))
	}
	nSegments = int(min(*p64(tab + abi.TabNSeg), abi.MaxSegs))
	for i := 0; i < nSegments; i++ {
		a := tab + abi.TabSegs + uintptr(i)*abi.SegSize
		fl := *p64(a + abi.SegFlags)
		segments[i] = segment{
			vaddr: uintptr(*p64(a + abi.SegVaddr)), paddr: uintptr(*p64(a + abi.SegPaddr)),
			file: uintptr(*p64(a + abi.SegFile)), mem: uintptr(*p64(a + abi.SegMem)),
			prot: uint32(fl>>2&1 | fl&2 | fl&1<<2),
		}
	}
}

// mapKernelHalf makes the page tables that stay: the direct map of RAM, of Xen's special pages below 4 GiB and of the
// grant window, by 2 MiB; the kernel's own part is the boot tables'. The low half starts empty.
func mapKernelHalf(tab uintptr) {
	pml4 = allocPage()
	*p64(directMap + pml4 + 511*8) = *p64(tab + abi.TabKernelPM)
	pdpt := allocPage()
	*p64(directMap + pml4 + 256*8) = uint64(pdpt) | pteP | pteW
	mapGiBs(pdpt, 3<<30, 4<<30)
	mapGiBs(pdpt, uint64(grantWindow), uint64(grantWindow)+grantWindowPages*pageSize)
	for i := 0; i < nMemmap; i++ {
		if m := &memmap[i]; m.kind == 1 {
			mapGiBs(pdpt, m.addr, m.addr+m.size)
		}
	}
	loadCR3(pml4)
	loadCR4(readCR4() | cr4PGE)
}

func mapGiBs(pdpt uintptr, a, e uint64) {
	for g := a >> 30; g<<30 < e && g < 512; g++ {
		ent := p64(directMap + pdpt + uintptr(g)*8)
		if *ent != 0 {
			continue
		}
		pd := allocPage()
		if pd == 0 {
			die("no memory for the kernel's page tables; give the domain more (memory= in its configuration)")
		}
		*ent = uint64(pd) | pteP | pteW
		for j := uint64(0); j < 512; j++ {
			*p64(directMap + pd + uintptr(j)*8) = g<<30 | j<<21 | pteP | pteW | ptePS | pteG | pteNX
		}
	}
}

// imagePage reports whether the frame at pa is one of the image's pristine pages.
func imagePage(pa uintptr) bool { return pa >= imageStart && pa < imageEnd }

// segmentPage returns the pristine frame behind va in segment i, 0 if the page is all zeroes.
func segmentPage(i int, va uintptr) uintptr {
	s := &segments[i]
	if o := va - s.vaddr; o < s.file {
		return s.paddr + o
	}
	return 0
}

// startProgram makes the program's address space and its first thread, and leaves it in current.
func startProgram() {
	for i := 0; i < nSegments; i++ {
		s := &segments[i]
		vmaInsert(vma{start: s.vaddr, end: s.vaddr + s.mem, prot: s.prot, maxProt: 7, kind: vmaImage, index: uint16(i)})
		for o := uintptr(0); o < s.file; o += pageSize {
			if !mapPage(s.vaddr+o, s.paddr+o, protBits(s.prot)&^pteW|pteShared) {
				die("no memory for the program's page tables; give the domain more (memory= in its configuration)")
			}
		}
	}
	mapArenas()
	parseCmdline()
	if entropy == entropyNone && generation == 0 {
		putString("morgana: random numbers are guessable: no RDRAND, no UUID from Xen; pass unikernel.seed=HEX\n")
	}
	t := newThread()
	if t == nil {
		die("no memory for the first thread; give the domain more (memory= in its configuration)")
	}
	t.rip, t.rflags = programEntry, 0x202
	current = t.addr()
	t.rsp = uint64(userStack())
	runQueue.pushBack(t)
	t.queue = qRun
	mainTime = nanotime()
	sliceStart = mainTime
}
