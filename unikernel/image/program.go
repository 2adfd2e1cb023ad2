package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"morgana/unikernel/internal/abi"
)

// ErrProgram is what Join's errors about the program match.
var ErrProgram = errors.New("not a program for a unikernel")

// maxMemory bounds what a program's segments may ask for, in bytes: address arithmetic stays far from overflow.
const maxMemory = 1 << 40

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
		s, err := loadSegment(b, ph)
		if err != nil {
			return nil, err
		}
		if s.vaddr < abi.UserLow || s.vaddr+s.memory > abi.ProgramTop {
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
	if len(p.segments) > abi.MaxSegs {
		return nil, bad("%d segments, at most %d are supported", len(p.segments), abi.MaxSegs)
	}
	inText := false
	for _, s := range p.segments {
		inText = inText || s.flags&1 != 0 && p.entry >= s.vaddr && p.entry < s.vaddr+uint64(len(s.data))
	}
	if !inText {
		return nil, bad("its entry point %#x is in no executable segment", p.entry)
	}
	off := binary.LittleEndian.Uint64(b[32:])
	for _, ph := range f.Progs {
		if ph.Type == elf.PT_LOAD && ph.Off <= off && off < ph.Off+ph.Filesz {
			p.phdr = ph.Vaddr + off - ph.Off
		}
	}
	return p, nil
}

// openELF accepts static x86-64 executables only, and says what to do with others.
func openELF(b []byte) (*elf.File, error) {
	if len(b) < 64 || string(b[:4]) != elf.ELFMAG {
		return nil, bad("not an ELF file; build it with GOOS=linux GOARCH=amd64")
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, bad("damaged ELF file (%v)", err)
	}
	switch {
	case f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64:
		return nil, bad("it is for %v; build it with GOARCH=amd64", f.Machine)
	case f.Type == elf.ET_DYN:
		return nil, bad("it is position-independent or a library; build it without -buildmode=pie (C programs: -static -no-pie)")
	case f.Type != elf.ET_EXEC:
		return nil, bad("it is %v, not an executable", f.Type)
	case f.OSABI != elf.ELFOSABI_NONE && f.OSABI != elf.ELFOSABI_LINUX:
		return nil, bad("it is for %v; build it with GOOS=linux", f.OSABI)
	}
	return f, nil
}

func loadSegment(b []byte, ph *elf.Prog) (segment, error) {
	if ph.Filesz > ph.Memsz || ph.Memsz > maxMemory || ph.Vaddr > 1<<63 && ph.Vaddr+ph.Memsz < ph.Vaddr ||
		ph.Off > uint64(len(b)) || ph.Filesz > uint64(len(b))-ph.Off {
		return segment{}, bad("segment at %#x reaches beyond the file; the file is cut off or damaged", ph.Vaddr)
	}
	pre := ph.Vaddr & (abi.Page - 1)
	data := make([]byte, pageUp(pre+ph.Filesz))
	if ph.Filesz == 0 {
		data = nil
	}
	if data != nil {
		copy(data[pre:], b[ph.Off:ph.Off+ph.Filesz])
	}
	return segment{vaddr: ph.Vaddr - pre, data: data, memory: pageUp(pre + ph.Memsz), flags: uint32(ph.Flags)}, nil
}
