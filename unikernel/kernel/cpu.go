package main

import "unsafe"

// Instructions, in cpu_amd64.s.
func haltForever()
func outb(port uint16, v uint8)
func inb(port uint16) uint8
func cpuid(fn, sub uint32) (a, b, c, d uint32)
func wrmsr(msr uint32, v uint64)
func rdmsr(msr uint32) uint64
func rdtsc() uint64
func rdrand() (v uint64, ok bool)
func readCR2() uintptr
func loadCR3(v uintptr)
func readCR3() uintptr
func readCR4() uint64
func loadCR4(v uint64)
func xsetbv0(v uint64)
func invlpg(a uintptr)
func zero(p, n uintptr)
func move(dst, src, n uintptr)
func loadTables(gdtr, idtr uintptr, tss uint16)
func hypercall(nr, a1, a2, a3 uintptr) int64
func earlyHypercall(nr, a1, a2 uintptr, amd bool) int64
func xchg64(a uintptr, v uint64) uint64
func xchg32(a uintptr, v uint32) uint32
func cas64(a uintptr, old, new uint64) bool
func cas16(a uintptr, old, new uint16) bool
func load32(a uintptr) uint32

// Entry points, in entry_amd64.s.
func idle()
func trapStubsPC() uintptr
func syscallPC() uintptr
func restartOnStackTop()

// p64 and its like are the kernel's view of an address of its own: static data or the direct map.
func p64(a uintptr) *uint64 { return (*uint64)(unsafe.Add(nil, a)) }
func p32(a uintptr) *uint32 { return (*uint32)(unsafe.Add(nil, a)) }
func p16(a uintptr) *uint16 { return (*uint16)(unsafe.Add(nil, a)) }
func p8(a uintptr) *uint8   { return (*uint8)(unsafe.Add(nil, a)) }

type kernelStacks struct {
	main [32 << 10]byte
	df   [4 << 10]byte // IST1: #DF, NMI, #MC
}

// Variables that assembly uses.
var (
	stacks        kernelStacks
	stackTop      uintptr
	kernelG       [64]uint64 // runtime.g as far as compiled code looks: stack bounds and guards
	kernelTLS     [4]uint64
	kernelFS      uint64
	mxcsrDefault  uint32 // set by entry64
	scratch       uint64
	current       uintptr // the running *thread
	trapVec       uint64
	trapErr       uint64
	trapRip       uint64
	useXsave      bool
	haveFSGSBASE  bool
	hypercallPage uintptr
)

// xcr0 is the set of FP states that XSAVE saves; a signal frame may not ask for others.
var xcr0 uint64

const (
	selKernelCode = 0x08
	selKernelData = 0x10
	selUserData   = 0x18 | 3
	selUserCode   = 0x20 | 3
	selTSS        = 0x28

	msrEFER   = 0xC0000080
	msrSTAR   = 0xC0000081
	msrLSTAR  = 0xC0000082
	msrSFMASK = 0xC0000084

	cr4PGE      = 1 << 7
	cr4FSGSBASE = 1 << 16
	cr4OSXSAVE  = 1 << 18
	cr4SMEP     = 1 << 20
	cr4SMAP     = 1 << 21

	vecXen   = 32 // event upcall
	vecLAPIC = 33 // timer of a machine without Xen
)

var (
	gdt [8]uint64
	idt [64][2]uint64
	tss [26]uint32
	dtr [8]uint64
)

// setupTables loads GDT, IDT, TSS and the SYSCALL MSRs (Intel SDM vol. 3, 3.4.5, 6.14, 7.7).
func setupTables() {
	gdt[1] = 0x00af9b000000ffff
	gdt[2] = 0x00cf93000000ffff
	gdt[3] = 0x00cff3000000ffff
	gdt[4] = 0x00affb000000ffff
	base := uint64(uintptr(unsafe.Pointer(&tss)))
	gdt[5] = 103 | (base&0xffffff)<<16 | 0x89<<40 | (base>>24&0xff)<<56
	gdt[6] = base >> 32
	setTSS(1, uint64(stackTop)) // RSP0
	end := uint64(uintptr(unsafe.Pointer(&stacks)) + unsafe.Sizeof(stacks))
	setTSS(9, end&^63) // IST1
	tss[25] = 104 << 16
	stub := uint64(trapStubsPC())
	for v := uint64(0); v < 40; v++ {
		a := stub + v*8
		ist, dpl := uint64(0), uint64(0)
		switch v {
		case 8, 2, 18:
			ist = 1
		case 3:
			dpl = 3
		}
		idt[v][0] = a&0xffff | selKernelCode<<16 | ist<<32 | (0x8e|dpl<<5)<<40 | (a>>16&0xffff)<<48
		idt[v][1] = a >> 32
	}
	d := uintptr(unsafe.Pointer(&dtr))
	*p16(d + 6) = 8*8 - 1
	*p64(d + 8) = uint64(uintptr(unsafe.Pointer(&gdt)))
	*p16(d + 22) = 64*16 - 1
	*p64(d + 24) = uint64(uintptr(unsafe.Pointer(&idt)))
	loadTables(d+6, d+22, selTSS)
	wrmsr(msrSTAR, selKernelCode<<32|selKernelData<<48)
	wrmsr(msrLSTAR, uint64(syscallPC()))
	wrmsr(msrSFMASK, 0x47700) // IF TF DF NT AC IOPL
}

func setTSS(i int, v uint64) {
	tss[i] = uint32(v)
	tss[i+1] = uint32(v >> 32)
}

// setupCPU turns on what the CPU has of XSAVE, FSGSBASE, SMEP and SMAP.
func setupCPU() {
	_, _, c, _ := cpuid(1, 0)
	hasRDRAND = c&(1<<30) != 0
	xcr0 = 3
	cr4 := readCR4()
	if m, _, _, _ := cpuid(0, 0); m >= 7 {
		_, b, _, _ := cpuid(7, 0)
		if b&1 != 0 {
			cr4 |= cr4FSGSBASE
			haveFSGSBASE = true
		}
		if b&(1<<7) != 0 {
			cr4 |= cr4SMEP
		}
		if b&(1<<20) != 0 {
			cr4 |= cr4SMAP
		}
	}
	if c&(1<<26) == 0 {
		loadCR4(cr4)
		return
	}
	loadCR4(cr4 | cr4OSXSAVE)
	a, _, _, _ := cpuid(0xd, 0)
	xcr0 = 3 | uint64(a)&0xe4
	if xcr0&0xe0 != 0xe0 {
		xcr0 &^= 0xe0
	}
	xsetbv0(xcr0)
	_, b, _, _ := cpuid(0xd, 0)
	if b > fpSize {
		xcr0 = 3
		xsetbv0(xcr0)
	}
	useXsave = true
}
