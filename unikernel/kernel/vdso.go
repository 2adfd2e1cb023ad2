package main

import "unsafe"

// The vDSO: a page of code by which the program reads the clock without entering the kernel, as Linux has it (vdso(7)).
// Go's runtime looks at the clock whenever a goroutine sleeps or wakes; each look was a system call.
//
// Three pages, at the same place in every program:
//
//	vdsoCode  an ELF shared object with one function, __vdso_clock_gettime, and two words of the kernel's
//	vdsoTime  the page that Xen keeps its clocks in (shared info), to be read alone
//	vdsoLast  the last time that was told, the program's own: the clock never steps back
//
// Without Xen there is none, and programs make the system call.
const (
	vdsoCode = 0x7fff_ffff_4000
	vdsoTime = vdsoCode + 1*pageSize
	vdsoLast = vdsoCode + 2*pageSize

	// In the first page.
	vdsoBaseAt = 0x1c0 // u64: clockBase
	vdsoRunAt  = 0x1c8 // u32: how often the domain was restored
	vdsoFuncAt = 0x200

	vdsoEnd = 0x6f736476 // "vdso": the operand of the instruction behind the function, whose code is one byte
)

// vdsoHead is the object's head: what a program's start-up code reads to find the function.
var vdsoHead = [...]uint64{
	// Elf64_Ehdr
	0x00010102_464c457f, 0, 1<<32 | 62<<16 | 3, 0, 0x40, 0, 56<<48 | 64<<32 | 0, 64<<16 | 2,
	// Elf64_Phdr: PT_LOAD, R and X; PT_DYNAMIC
	5<<32 | 1, 0, 0, 0, pageSize, pageSize, pageSize,
	4<<32 | 2, 0xb0, 0xb0, 0xb0, 0x80, 0x80, 8,
	// 0xb0: Elf64_Dyn: DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_VERSYM, DT_VERDEF, DT_NULL
	4, 0x160, 5, 0x178, 6, 0x130, 10, 32, 11, 24, 0x6ffffff0, 0x198, 0x6ffffffc, 0x1a0, 0, 0,
	// 0x130: Elf64_Sym: none; the function: name 1, STB_GLOBAL and STT_FUNC, a section that is not SHN_UNDEF
	0, 0, 0, 1<<48 | 0x12<<32 | 1, vdsoFuncAt, 0x200,
	// 0x160: hash: one bucket, two symbols; the bucket's first is 1, after 1 comes none
	2<<32 | 1, 0<<32 | 1, 0,
	// 0x178: "\0__vdso_clock_gettime\0LINUX_2.6\0"
	0x5f6f7364765f5f00, 0x65675f6b636f6c63, 0x494c00656d697474, 0x00362e325f58554e,
	// 0x198: the symbols' versions: none, 2
	2 << 16,
	// 0x1a0: Elf64_Verdef: version 2, one name, its hash, where the name is: 20 on; Elf64_Verdaux: at 22 of the names. Go's
	// runtime wants it.
	1<<48 | 2<<32 | 1, 20<<32 | 0x3ae75f6, 22 << 32, 0,
}

var vdsoPage uintptr // physical; 0 without Xen

// setupVDSO makes the page.
func setupVDSO() {
	if !onXen {
		return
	}
	if vdsoPage = allocPage(); vdsoPage == 0 {
		return
	}
	vdsoFill(directMap + vdsoPage)
	vdsoClockBase()
}

// vdsoFill writes the object to the page at p.
func vdsoFill(p uintptr) {
	move(p, uintptr(unsafe.Pointer(&vdsoHead)), unsafe.Sizeof(vdsoHead))
	from := vdsoClockPC()
	n := uintptr(0)
	for *p32(from + n + 1) != vdsoEnd {
		n++
	}
	move(p+vdsoFuncAt, from, n)
}

// vdsoClockBase tells the program's side of clockBase, and that whoever reads the clock just now has to begin anew.
func vdsoClockBase() {
	if vdsoPage == 0 {
		return
	}
	p := directMap + vdsoPage
	*p64(p + vdsoBaseAt) = uint64(clockBase)
	*p32(p + vdsoRunAt)++
}

// mapVDSO gives the pages to a new program, and reports whether there are any.
func mapVDSO() bool {
	if vdsoPage == 0 {
		return false
	}
	last := allocPage()
	if last == 0 {
		return false
	}
	const rx, rw = protRead | protExec, protRead | protWrite
	if !mapPage(vdsoCode, vdsoPage, protBits(rx)|pteShared) || !mapPage(vdsoTime, sharedPage, protBits(protRead)|pteShared) ||
		!mapPage(vdsoLast, last, protBits(rw)) {
		return false
	}
	vmaInsert(vma{start: vdsoCode, end: vdsoCode + pageSize, prot: rx, maxProt: rx, kind: vmaDevice})
	vmaInsert(vma{start: vdsoTime, end: vdsoTime + pageSize, prot: protRead, maxProt: protRead, kind: vmaDevice})
	vmaInsert(vma{start: vdsoLast, end: vdsoLast + pageSize, prot: rw, maxProt: rw})
	return true
}

// Implemented in vdso_amd64.s.

func vdsoClockPC() uintptr
