package image

import (
	"encoding/binary"

	"morgana/unikernel/internal/abi"
)

// bootPages are the pages at abi.Base: how a CPU in 32-bit mode gets to the kernel.
type bootPages struct{ bytes []byte }

const (
	noteSize = 20

	pteP  = 1
	pteW  = 2
	ptePS = 0x80
	pteG  = 0x100
	pteNX = 1 << 63
)

func (b bootPages) put(off uint64, v uint64) { binary.LittleEndian.PutUint64(b.bytes[off:], v) }

func (b bootPages) table(field int, v uint64) { b.put(uint64(abi.BootTable+field), v) }

// segment enters a program's segment at physical address at.
func (b bootPages) segment(i int, s segment, at uint64) {
	o := abi.TabSegs + i*abi.SegSize
	b.table(o+abi.SegVaddr, s.vaddr)
	b.table(o+abi.SegPaddr, at)
	b.table(o+abi.SegFile, uint64(len(s.data)))
	b.table(o+abi.SegMem, s.memory)
	b.table(o+abi.SegFlags, uint64(s.flags))
}

// mapKernel enters a kernel page with its own rights: W^X in ring 0 too.
func (b bootPages) mapKernel(p kernelPage, at uint64) {
	e := at | pteP | pteG
	if p.flags&pageWrite != 0 {
		e |= pteW
	}
	if p.flags&pageExec == 0 {
		e |= pteNX
	}
	b.put(abi.BootKPT+(p.vaddr-abi.KernelBase)>>12*8, e)
}

// finish writes page tables, GDT, note and trampoline.
func (b bootPages) finish(entry uint64) {
	const base = abi.Base
	b.put(abi.BootPML4, base+abi.BootPDPT|pteP|pteW)
	b.put(abi.BootPML4+256*8, base+abi.BootPDPT|pteP|pteW)
	b.put(abi.BootPML4+511*8, base+abi.BootKPDPT|pteP|pteW)
	b.put(abi.BootPDPT, base+abi.BootPD|pteP|pteW)
	for i := range uint64(512) {
		b.put(abi.BootPD+i*8, i<<21|pteP|pteW|ptePS)
	}
	b.put(abi.BootKPDPT+510*8, base+abi.BootKPD|pteP|pteW)
	for i := uint64(0); abi.BootKPT+i*abi.Page < uint64(len(b.bytes)); i++ {
		b.put(abi.BootKPD+i*8, base+abi.BootKPT+i*abi.Page|pteP|pteW)
	}
	b.table(abi.TabMagic, abi.TableMagic)
	b.table(abi.TabKernelPM, base+abi.BootKPDPT|pteP|pteW)

	b.put(abi.BootGDT+8, 0x00af9b000000ffff)  // 64-bit code
	b.put(abi.BootGDT+16, 0x00cf93000000ffff) // data
	le := binary.LittleEndian
	le.PutUint16(b.bytes[abi.BootGDT+32:], 23)
	le.PutUint32(b.bytes[abi.BootGDT+34:], base+abi.BootGDT)

	note := b.bytes[abi.BootNote:]
	le.PutUint32(note, 4)
	le.PutUint32(note[4:], 4)
	le.PutUint32(note[8:], 18) // XEN_ELFNOTE_PHYS32_ENTRY
	copy(note[12:], "Xen\x00")
	le.PutUint32(note[16:], base)
	copy(b.bytes, trampoline(entry))
}

// trampoline is the 32-bit entry: EBX = hvm_start_info, paging off, flat segments (docs/misc/pvh.pandoc).
func trampoline(entry uint64) []byte {
	le := binary.LittleEndian
	var c []byte
	op := func(x ...byte) { c = append(c, x...) }
	imm := func(v uint32) { c = le.AppendUint32(c, v) }
	op(0xfa, 0xfc)       // cli; cld
	op(0x0f, 0x20, 0xe0) // mov eax, cr4
	op(0x0d)
	imm(0x620)           // or eax, PAE|OSFXSR|OSXMMEXCPT
	op(0x0f, 0x22, 0xe0) // mov cr4, eax
	op(0xb8)
	imm(abi.Base + abi.BootPML4)
	op(0x0f, 0x22, 0xd8) // mov cr3, eax
	op(0xb9)
	imm(0xc0000080) // mov ecx, EFER
	op(0x0f, 0x32)  // rdmsr
	op(0x0d)
	imm(0x901)           // or eax, NXE|LME|SCE
	op(0x0f, 0x30)       // wrmsr
	op(0x0f, 0x20, 0xc0) // mov eax, cr0
	op(0x25)
	imm(0x9ffffff3) // and eax, ~(CD|NW|EM|TS)
	op(0x0d)
	imm(0x80010023)      // or eax, PG|WP|NE|MP|PE
	op(0x0f, 0x22, 0xc0) // mov cr0, eax
	op(0x0f, 0x01, 0x15)
	imm(abi.Base + abi.BootGDT + 32) // lgdt
	op(0xea)
	imm(uint32(abi.Base + len(c) + 6))
	op(8, 0)                               // ljmp 8:next
	op(0x66, 0xb8, 0x10, 0x00)             // mov ax, 0x10
	op(0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0) // mov ds, es, ss
	op(0x31, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8) // xor eax, eax; mov fs, gs
	op(0x89, 0xdf)                         // mov edi, ebx
	op(0xbe)
	imm(abi.Base + abi.BootTable) // mov esi, table
	op(0x48, 0xb8)
	c = le.AppendUint64(c, entry) // mov rax, entry
	op(0xff, 0xe0)                // jmp rax
	return c
}
