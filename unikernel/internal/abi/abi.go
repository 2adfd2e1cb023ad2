// Package abi is the contract between the three parts of a unikernel: the image tool that lays the file out, the
// kernel that boots from it, and package unikernel through which a program asks the kernel for more than Linux has.
// Constants and plain structs only: the kernel image must not pull in a line of code from here.
package abi

// Where the image lies. Physical addresses start at 1 MiB, page by page: boot pages, kernel pages with data, kernel
// zero pages, program, files.
const (
	Base       = 0x100000           // physical start; also the 32-bit PVH entry point
	KernelBase = 0xffffffff80000000 // virtual start of the kernel image, in the top 2 GiB
	Page       = 4096

	// Boot pages, offsets from Base.
	BootGDT    = 0x800
	BootNote   = 0x900
	BootTable  = 0xa00
	BootPML4   = 0x1000
	BootPDPT   = 0x2000
	BootPD     = 0x3000 // the first GiB by 2 MiB pages
	BootKPDPT  = 0x4000
	BootKPD    = 0x5000
	BootKPT    = 0x6000 // one page for each 2 MiB of kernel
	UserLow    = 0x10000
	UserTop    = 1 << 47
	ProgramTop = 1 << 46 // the program's segments lie below
)

// The table at Base+BootTable: 64-bit little-endian words; in ESI at the kernel's entry.
const (
	TableMagic = 0x3242_4154_4b49_4e55 // "UNIKTAB2"

	TabMagic    = 0
	TabStart    = 8   // physical start of the image
	TabEnd      = 16  // physical end of the image
	TabKernelPM = 24  // the PML4 entry of the kernel half
	TabEntry    = 32  // program's entry point
	TabPhdr     = 40  // AT_PHDR, 0 if the headers are not in memory
	TabPhnum    = 48  // AT_PHNUM
	TabFiles    = 56  // physical address of the file archive, 0 if none
	TabFilesLen = 64  // its length in bytes
	TabName     = 72  // program's name, 56 bytes, zero-terminated: argv[0]
	TabNSeg     = 128 // number of segments
	TabSegs     = 136 // segments: SegSize bytes each

	SegVaddr = 0  // page-aligned
	SegPaddr = 8  // page-aligned
	SegFile  = 16 // bytes of pages with content
	SegMem   = 24 // bytes in memory; the rest is demand-zero
	SegFlags = 32 // p_flags: 1 X, 2 W, 4 R
	SegSize  = 40
	MaxSegs  = 16
)

// The file archive: entries one after the other, each 8-byte aligned: a header of FileHeader bytes, the name (a
// clean absolute path, no zero byte), padding to 8, then the content, which begins at a multiple of Page from the
// archive's start when it is longer than Page/2 (so that it is served in place), padding to 8. A header with name
// length 0 ends it.
const (
	FileNameLen = 0  // u32
	FileMode    = 4  // u32: permission bits
	FileSize    = 8  // u64: bytes of content
	FileData    = 16 // u64: offset of the content from the archive's start
	FileNext    = 24 // u64: offset of the next header
	FileHeader  = 32
)

// Private system calls, all in one range that Linux does not use: it answers ENOSYS, by which a program knows that
// it is not booted.
const (
	SysInfo       = 0x10000 + iota // (*Info, size) → 0
	SysCounters                    // (*Counters, size) → 0
	SysArena                       // (name, len, pages) → address; ENOENT, EEXIST (other size), ENOMEM, ENOSPC
	SysArenaGrant                  // (address, domid, flags: 1 read-only) → grant reference; kept over a restart
	SysArenaEnd                    // (grant reference) → 0 or EBUSY while the peer maps it
	SysEventKeep                   // (port, keep 0/1): the channel survives a restart
	SysRestart                     // restart in place; does not return
	SysOnFatal                     // (1: restart in place when the program dies, 0: shut the domain down)
	SysDebugLog                    // (bytes, len): Xen's debug port
	SysSeed                        // (bytes, len): stir into the kernel's random state
	SysHypercall                   // (nr, arg1 … arg3): the few harmless ones; ENOSYS otherwise
	SysShutdown                    // (reason): 0 poweroff, 1 reboot, 2 suspend (returns after resume), 3 crash
	SysBalloon                     // (target KiB) → KiB that the domain has now
	SysDomain                      // (domid) → its XEN_DOMINF_* flags; ESRCH; EPERM unless it serves xenstore
)

// InfoMagic begins Info.
const InfoMagic = 0x4b494e55

// Info is what SysInfo fills in.
type Info struct {
	Magic      uint64
	OnXen      uint64 // 1 on Xen, 0 on a bare virtual machine
	Generation uint64 // restarts in place so far
	BootNS     uint64 // monotonic time of the kernel's first instruction
	MainNS     uint64 // … of the program's entry
	Entropy    uint64 // EntropyHardware …
	MaxPages   uint64 // RAM, pages of 4 KiB
	Kernel     [32]byte
}

// Quality of the kernel's random numbers.
const (
	EntropyNone     = iota // only clocks: guessable
	EntropySeed            // a seed from the command line or xenstore
	EntropyHardware        // RDSEED or RDRAND
)

// Counters is what SysCounters fills in.
type Counters struct {
	Syscalls, Interrupts, Faults, Switches uint64
	TotalPages, FreePages, MinFreePages    uint64
	VMAs, Threads, Files                   uint64
	Hypercalls, Events                     uint64
	ArenaPages, GrantsShared, GrantsMapped uint64
	ParkedPages                            uint64 // revoked, still mapped by a peer
}
