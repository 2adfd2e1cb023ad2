package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"morgana/unikernel/internal/abi"
)

// ErrProgram is what Join's errors about the program match.
var ErrProgram = errors.New("not a program for a unikernel")

const (
	// maxMemory bounds what a segment may ask for, in bytes: address arithmetic stays far from overflow. Go programs
	// have up to 32 MiB of .bss that they never touch, so this is no measure of what a domain needs.
	maxMemory = 1 << 40

	programHeader = 56 // bytes, Elf64_Phdr; the kernel tells the program so (AT_PHENT)
)

// segment is one PT_LOAD, page-aligned.
type segment struct {
	vaddr  uint64
	data   []byte // whole pages
	memory uint64 // bytes in memory, whole pages; beyond data: zeroes
	flags  uint32
}

type program struct {
	segments    []segment
	entry       uint64
	phdr, phnum uint64
}

func bad(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrProgram, fmt.Sprintf(format, a...))
}

func pageUp(v uint64) uint64 { return (v + abi.Page - 1) &^ (abi.Page - 1) }

// parseProgram checks that b is an executable that can run and takes its segments.
func parseProgram(b []byte) (*program, error) {
	f, err := openELF(b)
	if err != nil {
		return nil, err
	}
	if f.Entry == abi.Base && slices.ContainsFunc(f.Progs, func(ph *elf.Prog) bool { return ph.Type == elf.PT_LOAD && ph.Vaddr >= abi.KernelBase }) {
		return nil, bad("it is an image already; run it, or see stubdom inspect")
	}
	p := &program{entry: f.Entry, phnum: uint64(len(f.Progs))}
	for _, ph := range f.Progs {
		switch ph.Type {
		case elf.PT_INTERP, elf.PT_DYNAMIC:
			return nil, bad("it is dynamically linked or uses cgo; build it with CGO_ENABLED=0 (C programs: -static)")
		case elf.PT_LOAD:
		default:
			continue
		}
		if ph.Memsz == 0 {
			continue
		}
		if len(p.segments) == abi.MaxSegs {
			return nil, bad("more than %d segments; link it with the usual linker script", abi.MaxSegs)
		}
		s, err := loadSegment(b, ph)
		if err != nil {
			return nil, err
		}
		if s.vaddr < abi.UserLow || s.vaddr > abi.ProgramTop || s.vaddr+s.memory > abi.ProgramTop {
			return nil, bad("segment at %#x lies outside of %#x to %#x; link it at the usual address", s.vaddr, abi.UserLow, uint64(abi.ProgramTop))
		}
		for _, o := range p.segments {
			if s.vaddr < o.vaddr+o.memory && o.vaddr < s.vaddr+s.memory {
				return nil, bad("segments at %#x and %#x share a page; link it with page-aligned segments", o.vaddr, s.vaddr)
			}
		}
		p.segments = append(p.segments, s)
	}
	if len(p.segments) == 0 {
		return nil, bad("the file has nothing to load; is it an object file?")
	}
	if !slices.ContainsFunc(p.segments, func(s segment) bool {
		return s.flags&uint32(elf.PF_X) != 0 && p.entry >= s.vaddr && p.entry-s.vaddr < uint64(len(s.data))
	}) {
		return nil, bad("its entry point %#x is in no executable segment", p.entry)
	}
	off, size := binary.LittleEndian.Uint64(b[32:]), p.phnum*programHeader
	for _, ph := range f.Progs {
		if ph.Type == elf.PT_LOAD && ph.Off <= off && off-ph.Off <= ph.Filesz && size <= ph.Filesz-(off-ph.Off) {
			p.phdr = ph.Vaddr + off - ph.Off
		}
	}
	return p, nil
}

// openELF accepts static x86-64 executables only, and says what to do with others.
func openELF(b []byte) (*elf.File, error) {
	switch {
	case bytes.HasPrefix(b, []byte("!<arch>")):
		return nil, bad("it is a library, not a program; name a package main")
	case bytes.HasPrefix(b, []byte("#!")):
		return nil, bad("it is a script; name the program itself, built with GOOS=linux GOARCH=amd64")
	case !bytes.HasPrefix(b, []byte(elf.ELFMAG)):
		return nil, bad("not an ELF file; build it with GOOS=linux GOARCH=amd64")
	case len(b) < 64:
		return nil, bad("%d bytes are no ELF file; it is cut off", len(b))
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, bad("damaged ELF file (%v); copy or build it again", err)
	}
	switch {
	case f.Data != elf.ELFDATA2LSB:
		return nil, bad("it is big-endian; build it with GOARCH=amd64")
	case f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64:
		return nil, bad("it is for %v; build it with GOARCH=amd64", f.Machine)
	case f.Type == elf.ET_DYN:
		return nil, bad("it is position-independent or a library; build it without -buildmode=pie (C programs: -static -no-pie)")
	case f.Type != elf.ET_EXEC:
		return nil, bad("it is %v, not an executable", f.Type)
	case f.OSABI != elf.ELFOSABI_NONE && f.OSABI != elf.ELFOSABI_LINUX:
		return nil, bad("it is for %v; build it with GOOS=linux", f.OSABI)
	case len(f.Progs) > 0 && binary.LittleEndian.Uint16(b[54:]) != programHeader:
		return nil, bad("damaged ELF file (program headers of %d bytes); copy or build it again", binary.LittleEndian.Uint16(b[54:]))
	}
	return f, nil
}

// loadSegment takes one PT_LOAD out of the file b, rounded outwards to pages.
func loadSegment(b []byte, ph *elf.Prog) (segment, error) {
	switch {
	case ph.Off > uint64(len(b)) || ph.Filesz > uint64(len(b))-ph.Off:
		return segment{}, bad("segment at %#x reaches beyond the end of the file; the file is cut off, copy or build it again", ph.Vaddr)
	case ph.Filesz > ph.Memsz:
		return segment{}, bad("segment at %#x has %d bytes in the file and %d in memory; the file is damaged, copy or build it again", ph.Vaddr, ph.Filesz, ph.Memsz)
	case ph.Memsz > maxMemory || ph.Vaddr+ph.Memsz+2*abi.Page < ph.Vaddr:
		return segment{}, bad("segment at %#x wants %d bytes of memory; the file is damaged, copy or build it again", ph.Vaddr, ph.Memsz)
	}
	pre := ph.Vaddr & (abi.Page - 1)
	s := segment{vaddr: ph.Vaddr - pre, memory: pageUp(pre + ph.Memsz), flags: uint32(ph.Flags) & 7}
	if ph.Filesz > 0 {
		s.data = make([]byte, pageUp(pre+ph.Filesz))
		copy(s.data[pre:], b[ph.Off:ph.Off+ph.Filesz])
	}
	return s, nil
}
