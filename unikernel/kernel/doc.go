// Command kernel is the kernel of Morgana's unikernels: what stands between an unmodified static Linux program in
// ring 3 and Xen. It is linked at the top of the address space, trimmed to the pages that its entry can reach, and
// embedded in package unikernel/image, which joins it with a program to a PVH image.
//
// # What it is
//
// One address space, one virtual CPU, never preempted: interrupts are off in the kernel except in the idle HLT, each
// system call runs to its end or marks its thread blocked and picks another. So there are no locks. State for more
// CPUs would hang off `current`, `stackTop` and the run queue; a big lock around syscall and trap is the way there.
//
// The program makes the Linux system calls that Go's runtime and library make (docs/syscalls.md, generated from
// syscall.go). The rest gets the errno that Linux would give or ENOSYS, and is named once on the console.
//
// # Memory
//
// All RAM is mapped supervisor-only at directMap; the program's pages are mapped in the low half. The kernel reaches
// the program's memory by walking the page tables to the direct map (user.go) and never through a user address: a
// wild pointer is EFAULT by construction, in every system call, there is no fault in the kernel to recover from, and
// SMAP can be on throughout. Frames belong to one of: free list, program pages, kernel tables, files, grants, arena.
//
// The program can read two pages of the kernel's: the vDSO's, which is code, and shared info, in which Xen keeps its
// clocks (vdso.go). It can write neither.
//
// # Registers
//
// Entry from ring 3 saves all registers in the current thread's page, the FP state with XSAVE, and switches the FS
// base, because compiled Go finds g at -8(FS). resume puts all back with IRETQ. What sigreturn restores is
// sanitised first (signal.go), so neither XRSTOR nor IRETQ can fault in ring 0.
//
// # Rules for code in this package
//
// No heap, no pointer stored outside of the stack (write barriers), no map, channel, defer, panic, closure that
// escapes, interface or string building. State is static, addresses are uintptr, tables are arrays with indexes.
// Package-level variables have static initialisers only: no init runs. The image tool's list of reachable runtime
// functions proves it: memmove and its like, nothing that allocates (unikernel/image, TestKernelReachesNoRuntime).
package main

func main() {}
