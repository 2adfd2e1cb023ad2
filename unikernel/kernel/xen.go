package main

import "unsafe"

// Xen: the hypercall page, shared info, event upcalls (xen/include/public/{xen,memory,event_channel,sched,vcpu}.h,
// hvm/{hvm_op,params}.h).

const (
	hvMemoryOp   = 12
	hvXenVersion = 17
	hvGrantOp    = 20
	hvVCPUOp     = 24
	hvSchedOp    = 29
	hvEventOp    = 32
	hvHVMOp      = 34
	hvSysctl     = 35
	hvDomctl     = 36

	domSelf = 0x7ff0

	memDecreaseReservation = 1
	memAddToPhysmap        = 7
	memMemoryMap           = 9
	mapSpaceSharedInfo     = 0
	mapSpaceGrantTable     = 1

	eventBindInterdomain = 0
	eventBindVIRQ        = 1
	eventClose           = 3
	eventSend            = 4
	eventAllocUnbound    = 6
	eventUnmask          = 9

	schedYield    = 0
	schedShutdown = 2

	vcpuStopPeriodicTimer  = 7
	vcpuSetSingleshotTimer = 8

	hvmSetParam       = 0
	hvmGetParam       = 1
	paramCallbackIRQ  = 0
	paramStorePFN     = 1
	paramStoreEvent   = 2
	paramConsolePFN   = 17
	paramConsoleEvent = 18

	hypercallVA = 0xffff_9000_0000_0000

	maxPorts = 4096
)

var (
	onXen       bool
	sharedInfo  uintptr // kernel address
	sharedPage  uintptr // physical
	hyperArgs   [64]uint64
	timerPort   uint32
	xenFeatures uint64
)

func hyperArg() uintptr { return uintptr(unsafe.Pointer(&hyperArgs)) }

// hyper makes a hypercall whose arguments are the kernel's own.
func hyper(nr, a1, a2, a3 uintptr) int64 {
	nHypercall++
	return hypercall(nr, a1, a2, a3)
}

// findXen returns where Xen's CPUID leaves begin, 0 on a machine without it.
func findXen() uint32 {
	for l := uint32(0x40000000); l < 0x40010000; l += 0x100 {
		if _, b, c, d := cpuid(l, 0); b == 0x566e6558 && c == 0x65584d4d && d == 0x4d4d566e { // "XenVMMXenVMM"
			return l
		}
	}
	return 0
}

// xenMemmap asks Xen for the memory map. There is no memory for a hypercall page yet.
func xenMemmap() {
	if findXen() == 0 {
		return
	}
	_, vendor, _, _ := cpuid(0, 0)
	amd := vendor == 0x68747541 || vendor == 0x6f677948 // "Auth", "Hygo"
	// struct xen_memory_map: nr_entries, buffer; the entries are u64 address, u64 size, u32 type, packed
	hyperArgs[0], hyperArgs[1] = uint64(len(memmap)), uint64(addrOf64(&grantOps[0]))
	if earlyHypercall(hvMemoryOp, memMemoryMap, hyperArg(), amd) != 0 {
		return
	}
	p := addrOf64(&grantOps[0])
	for nMemmap = 0; nMemmap < int(uint32(hyperArgs[0])) && nMemmap < len(memmap); nMemmap++ {
		memmap[nMemmap] = ramRange{*p64(p), *p64(p + 8), *p32(p + 16)}
		p += 20
	}
}

// setupXen takes what Xen offers; on a machine without it nothing happens.
func setupXen() {
	base := findXen()
	if base == 0 {
		return
	}
	_, msr, _, _ := cpuid(base+2, 0)
	page := allocPage()
	wrmsr(msr, uint64(page)) // Xen writes VMCALL or VMMCALL as the CPU wants it
	mapPage(hypercallVA, page, pteP|pteG)
	// The walk made the tables user-accessible, the leaf is not: ring 3 cannot enter here.
	hypercallPage = hypercallVA
	sharedPage = allocPage()
	onXen = true
	connectXen()
}

// connectXen maps shared info and binds the kernel's own events: at boot and after a suspend.
func connectXen() {
	addToPhysmap(mapSpaceSharedInfo, 0, sharedPage)
	sharedInfo = directMap + sharedPage
	hyperArgs[0], hyperArgs[1] = domSelf|paramCallbackIRQ<<32, 2<<56|vecXen
	if r := hyper(hvHVMOp, hvmSetParam, hyperArg(), 0); r != 0 {
		die("Xen refuses the event vector")
	}
	consoleConnect(uintptr(hvmParam(paramConsolePFN)), uint32(hvmParam(paramConsoleEvent)))
	storeConnect(uintptr(hvmParam(paramStorePFN)), uint32(hvmParam(paramStoreEvent)))
	hyper(hvVCPUOp, vcpuStopPeriodicTimer, 0, 0)
	hyperArgs[0], hyperArgs[1] = 0, 0 // VIRQ_TIMER, VCPU 0
	if r := hyper(hvEventOp, eventBindVIRQ, hyperArg(), 0); r != 0 {
		die("Xen refuses the timer")
	}
	timerPort = uint32(hyperArgs[1])
	portOwner[timerPort] = portKernel
	armedFor = 0
	eventUnmaskPort(timerPort)
}

func addToPhysmap(space, index uint64, pa uintptr) {
	hyperArgs[0], hyperArgs[1], hyperArgs[2] = domSelf|space<<32, index, uint64(pa>>12)
	if r := hyper(hvMemoryOp, memAddToPhysmap, hyperArg(), 0); r != 0 {
		die("Xen refuses to map a page of its own")
	}
}

func hvmParam(i uint64) uint64 {
	hyperArgs[0], hyperArgs[1] = domSelf|i<<32, 0
	if hyper(hvHVMOp, hvmGetParam, hyperArg(), 0) != 0 {
		return 0
	}
	return hyperArgs[1]
}

// eventUnmaskPort lets port deliver; it stays pending if it was.
func eventUnmaskPort(port uint32) {
	clearBits(sharedInfo+0xa00+uintptr(port/64)*8, 1<<(port%64))
	hyperArgs[0] = uint64(port)
	hyper(hvEventOp, eventUnmask, hyperArg(), 0)
}

func eventNotify(port uint32) int64 {
	hyperArgs[0] = uint64(port)
	return hyper(hvEventOp, eventSend, hyperArg(), 0)
}

// pollEvents takes all pending events: those of the kernel are served, the program's go to its evtchn file.
func pollEvents() {
	if !onXen {
		if lapic != 0 {
			*p32(lapic + 0xb0) = 0 // EOI
		}
		armedFor = 0
		return
	}
	for *p8(sharedInfo) != 0 {
		xchg32(sharedInfo, load32(sharedInfo)&^0xff) // evtchn_upcall_pending; the byte beside it is unused in an HVM guest
		sel := xchg64(sharedInfo+8, 0)
		for w := uintptr(0); sel != 0; w++ {
			if sel&1 != 0 {
				takeEvents(w)
			}
			sel >>= 1
		}
	}
}

// takeEvents consumes the pending, unmasked ports of one word.
func takeEvents(w uintptr) {
	pend, mask := sharedInfo+0x800+w*8, *p64(sharedInfo + 0xa00 + w*8)
	var got uint64
	for {
		v := *p64(pend)
		got = v &^ mask
		if cas64(pend, v, v&mask) {
			break
		}
	}
	for b := uint32(0); got != 0; b++ {
		if got&1 != 0 {
			port := uint32(w)*64 + b
			switch {
			case port == timerPort:
				armedFor = 0 // it may come a little before our clock reaches the deadline: always arm anew
			case port == consolePort:
				consoleEvent()
			case port == storePort:
				storePump()
			default:
				userEvent(port)
			}
		}
		got >>= 1
	}
}

// Reasons of SCHEDOP_shutdown.
const (
	shutdownPoweroff = 0
	shutdownReboot   = 1
	shutdownSuspend  = 2
	shutdownCrash    = 3
)

// shutdownDomain ends the domain once the console has been read.
func shutdownDomain(reason uint32) {
	consoleFlush()
	if onXen {
		hyperArgs[0] = uint64(reason)
		hyper(hvSchedOp, schedShutdown, hyperArg(), 0)
	}
	outb(0xf4, uint8(reason)) // QEMU's isa-debug-exit
	outb(0x64, 0xfe)          // the keyboard controller's reset line
	haltForever()
}
