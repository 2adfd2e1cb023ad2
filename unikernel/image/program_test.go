package image

import (
	"debug/elf"
	"errors"
	"strings"
	"testing"

	"morgana/unikernel/internal/abi"
)

func TestJoinRefusesWhatCannotRun(t *testing.T) {
	change := func(f func(*elfFile)) []byte { return spoilt(t, f) }
	for _, c := range []struct {
		name    string
		program []byte
		want    string // the remedy is part of it
	}{
		{"empty", nil, "not an ELF file; build it with GOOS=linux GOARCH=amd64"},
		{"garbage", []byte(strings.Repeat("garbage ", 100)), "not an ELF file; build it with"},
		{"windows", append([]byte("MZ"), make([]byte, 4096)...), "not an ELF file; build it with GOOS=linux"},
		{"script", []byte("#!/bin/sh\nexit 0\n"), "it is a script; name the program itself"},
		{"library", []byte("!<arch>\n"), "it is a library, not a program; name a package main"},
		{"magic alone", []byte(elf.ELFMAG), "4 bytes are no ELF file; it is cut off"},
		{"header alone", goodELF().bytes()[:64], "damaged ELF file"},
		{"cut off", goodELF().bytes()[:0x1800], "file is cut off, copy or build it again"},
		{"32 bit", change(func(f *elfFile) { f.class = 1 }), ""},
		{"class 7", change(func(f *elfFile) { f.class = 7 }), "damaged ELF file"},
		{"big-endian", change(func(f *elfFile) { f.data = 2 }), ""},
		{"arm64", change(func(f *elfFile) { f.machine = uint16(elf.EM_AARCH64) }), "it is for EM_AARCH64; build it with GOARCH=amd64"},
		{"freebsd", change(func(f *elfFile) { f.osabi = byte(elf.ELFOSABI_FREEBSD) }), "build it with GOOS=linux"},
		{"pie", change(func(f *elfFile) { f.kind = uint16(elf.ET_DYN) }), "build it without -buildmode=pie"},
		{"object", change(func(f *elfFile) { f.kind = uint16(elf.ET_REL) }), "it is ET_REL, not an executable"},
		{"interpreter", change(func(f *elfFile) {
			f.phdrs = append(f.phdrs, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 0x1000, Filesz: 8, Memsz: 8})
		}), "build it with CGO_ENABLED=0"},
		{"dynamic", change(func(f *elfFile) {
			f.phdrs = append(f.phdrs, elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Off: 0x1000, Filesz: 8, Memsz: 8})
		}), "build it with CGO_ENABLED=0"},
		{"nothing to load", change(func(f *elfFile) { f.phdrs = nil }), "nothing to load"},
		{"large program headers", change(func(f *elfFile) { f.phdrSize = 64 }), "program headers of 64 bytes"},
		{"small program headers", change(func(f *elfFile) { f.phdrSize = 32 }), "damaged ELF file"},
		{"overlap", change(func(f *elfFile) { f.phdrs[1].Vaddr = 0x401000 }), "segments at 0x400000 and 0x401000 share a page"},
		{"same page", change(func(f *elfFile) { f.phdrs[1].Vaddr = 0x401200 }), "share a page"},
		{"page zero", change(func(f *elfFile) { f.phdrs[1].Vaddr = 0 }), "segment at 0x0 lies outside"},
		{"beyond user space", change(func(f *elfFile) { f.phdrs[1].Vaddr = abi.ProgramTop - 0x1000 }), "lies outside"},
		{"kernel half", change(func(f *elfFile) { f.phdrs[1].Vaddr = abi.KernelBase }), "lies outside"},
		{"last page", change(func(f *elfFile) {
			f.phdrs[1] = elf.Prog64{Type: 1, Flags: 5, Vaddr: 0xfffffffffffff000, Filesz: 0xfff, Memsz: 0xfff}
			f.entry = 0xfffffffffffff000
		}), "0xfffffffffffff000"},
		{"last byte", change(func(f *elfFile) {
			f.phdrs[1] = elf.Prog64{Type: 1, Flags: 5, Vaddr: 1<<64 - 1, Filesz: 1, Memsz: 1}
		}), "0xffffffffffffffff"},
		{"wrapping", change(func(f *elfFile) { f.phdrs[1].Memsz = 1<<64 - 0x1000 }), "wants 18446744073709547520 bytes of memory"},
		{"absurd memory", change(func(f *elfFile) { f.phdrs[1].Memsz = 1 << 45 }), "bytes of memory; the file is damaged"},
		{"offset beyond the end", change(func(f *elfFile) { f.phdrs[1].Off = 1 << 40 }), "file is cut off"},
		{"offset wraps", change(func(f *elfFile) { f.phdrs[1].Off = 1<<63 - 8 }), "file is cut off"},
		{"size beyond the end", change(func(f *elfFile) { f.phdrs[1].Filesz, f.phdrs[1].Memsz = 1<<39, 1<<39 }), "file is cut off"},
		{"file larger than memory", change(func(f *elfFile) { f.phdrs[1].Memsz = 1 }), "16 bytes in the file and 1 in memory"},
		{"entry in data", change(func(f *elfFile) { f.entry = 0x402000 }), "entry point 0x402000 is in no executable segment"},
		{"entry nowhere", change(func(f *elfFile) { f.entry = 0 }), "entry point 0x0 is in no executable segment"},
		{"entry in .bss", change(func(f *elfFile) { f.phdrs[1].Flags, f.entry = 7, 0x405000 }), "is in no executable segment"},
		{"many segments", change(func(f *elfFile) {
			for i := range uint64(40) {
				f.phdrs = append(f.phdrs, elf.Prog64{Type: 1, Flags: 4, Off: 0, Vaddr: 0x1000000 + i<<16, Filesz: 16, Memsz: 16})
			}
		}), "more than 16 segments"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Join(c.program, Options{})
			if !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got error %v, want ErrProgram with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %q", err)
			}
			if _, err := Inspect(c.program); err != nil && !errors.Is(err, ErrProgram) {
				t.Errorf("Inspect: %v is not ErrProgram", err)
			}
		})
	}
}

func TestJoinRefusesNames(t *testing.T) {
	for _, name := range []string{strings.Repeat("n", MaxName+1), "a\x00b"} {
		if _, _, err := Join(goodELF().bytes(), Options{Name: name}); !errors.Is(err, ErrProgram) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, _, err := Join(goodELF().bytes(), Options{Name: strings.Repeat("n", MaxName)}); err != nil {
		t.Error(err)
	}
}

func TestJoinRefusesAnImageBeyondTheFirstGiB(t *testing.T) {
	big := make([]byte, 512<<20) // never touched
	_, _, err := Join(goodELF().bytes(), Options{Files: []File{{Name: "/a", Data: big}, {Name: "/b", Data: big}}})
	if !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), "carry fewer or smaller files") {
		t.Fatal(err)
	}
}

func FuzzJoin(f *testing.F) {
	f.Add(goodELF().bytes())
	f.Add(spoilt(f, func(e *elfFile) { e.phdrs[1].Memsz = 1 << 45 }))
	f.Add(spoilt(f, func(e *elfFile) { e.phdrs[1].Vaddr = 1<<64 - 1 }))
	f.Fuzz(func(t *testing.T, b []byte) {
		img, l, err := Join(b, Options{})
		if err != nil {
			if !errors.Is(err, ErrProgram) {
				t.Fatalf("%v is not ErrProgram", err)
			}
			return
		}
		if l.Size != len(img) || l.End > maxImage {
			t.Fatalf("layout %+v of an image of %d bytes", l, len(img))
		}
		r, err := Inspect(img)
		if err != nil || !r.Image {
			t.Fatalf("the image cannot be inspected: %v", err)
		}
	})
}
