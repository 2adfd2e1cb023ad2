package image

import (
	"debug/elf"
	"encoding/binary"
	"testing"
)

// An elfFile is an executable to be written and spoilt.
type elfFile struct {
	class, data, osabi byte
	kind, machine      uint16
	entry              uint64
	phdrSize           uint16
	phdrs              []elf.Prog64
	content            []byte // from file offset 0x1000 on
}

// goodELF is a program of a text and a data segment with .bss: two pages of file each.
func goodELF() *elfFile {
	content := make([]byte, 0x2000)
	copy(content, "\xb8\xe7\x00\x00\x00\x31\xff\x0f\x05") // mov eax, 231; xor edi, edi; syscall
	copy(content[0x1000:], "data")
	return &elfFile{
		class: 2, data: 1, kind: uint16(elf.ET_EXEC), machine: uint16(elf.EM_X86_64), entry: 0x401000, phdrSize: 56,
		phdrs: []elf.Prog64{
			{Type: uint32(elf.PT_LOAD), Flags: 5, Off: 0, Vaddr: 0x400000, Paddr: 0x400000, Filesz: 0x1100, Memsz: 0x1100, Align: 4096},
			{Type: uint32(elf.PT_LOAD), Flags: 6, Off: 0x2000, Vaddr: 0x402000, Paddr: 0x402000, Filesz: 0x10, Memsz: 0x5000, Align: 4096},
		},
		content: content,
	}
}

func (f *elfFile) bytes() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0x1000)
	copy(b, elf.ELFMAG)
	b[4], b[5], b[6], b[7] = f.class, f.data, 1, f.osabi
	le.PutUint16(b[16:], f.kind)
	le.PutUint16(b[18:], f.machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], f.entry)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], f.phdrSize)
	le.PutUint16(b[56:], uint16(len(f.phdrs)))
	le.PutUint16(b[58:], 64)
	for i, p := range f.phdrs {
		h := b[64+i*int(f.phdrSize):]
		le.PutUint32(h, p.Type)
		le.PutUint32(h[4:], p.Flags)
		for j, v := range []uint64{p.Off, p.Vaddr, p.Paddr, p.Filesz, p.Memsz, p.Align} {
			le.PutUint64(h[8+8*j:], v)
		}
	}
	return append(b, f.content...)
}

// spoilt returns goodELF after change.
func spoilt(t testing.TB, change func(*elfFile)) []byte {
	t.Helper()
	f := goodELF()
	change(f)
	return f.bytes()
}
