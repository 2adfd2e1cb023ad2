// Package image joins Morgana's kernel with a static Linux program to a file that Xen boots as a PVH guest.
//
// The program may be any static x86-64 executable for Linux: stripped or not, built here or elsewhere, importing
// nothing of ours. It is not changed; its segments keep their virtual addresses and are packed in physical memory
// behind the kernel, whose pages are those that its entry point can reach (TrimKernel) and are embedded in this
// package. In front lie the boot pages: a trampoline from PVH's 32-bit entry to long mode, page tables, the ELF note
// that names the entry, and the table by which the kernel finds the program (unikernel/internal/abi).
//
// Sources: xen/include/public/elfnote.h (XEN_ELFNOTE_PHYS32_ENTRY), xen/include/public/arch-x86/hvm/start_info.h,
// docs/misc/pvh.pandoc, System V ABI for ELF.
package image
