package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"morgana/unikernel/internal/abi"
)

// A Symbol is a function or variable of the kernel.
type Symbol struct {
	Name  string
	Value uint64
	Size  uint64
}

// TrimKernel takes the kernel as the Go linker made it and keeps the pages that can be touched from its entry point.
// Every Go function with a stack frame refers to runtime.morestack and every index to runtime.panicIndex, which pull in
// the whole runtime: those are cut off, so that a stack overflow or a bad index in the kernel meets an absent page,
// which ends the domain with the address. The symbols are what is left: the proof of what the kernel calls. Literals are
// the strings of its source (KernelStrings): with them its strings are put together, without it keeps more pages.
func TrimKernel(kernelELF []byte, literals []string) (blob []byte, reached []Symbol, err error) {
	f, err := openELF(kernelELF)
	if err != nil {
		return nil, nil, err
	}
	w := &walker{keep: map[uint64]bool{}, done: map[uint64]bool{}}
	for _, ph := range f.Progs {
		if ph.Type != elf.PT_LOAD || ph.Memsz == 0 {
			continue
		}
		s, err := loadSegment(kernelELF, ph)
		if err != nil {
			return nil, nil, err
		}
		if s.vaddr < abi.KernelBase {
			return nil, nil, bad("the kernel has a segment at %#x; link it with -T -0x7ffff000", s.vaddr)
		}
		w.segments = append(w.segments, s)
	}
	if len(w.segments) == 0 {
		return nil, nil, bad("the kernel is empty")
	}
	syms, err := f.Symbols()
	if err != nil {
		return nil, nil, bad("the kernel has no symbols; link it without -s (%v)", err)
	}
	var all []Symbol
	for _, s := range syms {
		all = append(all, Symbol{s.Name, s.Value, s.Size})
		if s.Size != 0 && s.Section < elf.SHN_LORESERVE && !strings.HasPrefix(s.Name, "runtime.etypes") {
			w.symbols = append(w.symbols, Symbol{s.Name, s.Value, s.Size})
		}
	}
	slices.SortFunc(w.symbols, func(a, b Symbol) int { return cmp.Compare(a.Value, b.Value) })
	w.stringsLo, w.stringsHi = stringsOf(all)
	w.walk(f.Entry)
	if err := w.gather(literals); err != nil {
		return nil, nil, err
	}
	k := kernel{entry: f.Entry}
	for _, zero := range []bool{false, true} { // pages with content first
		for _, s := range w.segments {
			for o := uint64(0); o < s.memory; o += abi.Page {
				empty := o >= uint64(len(s.data))
				if !w.keep[s.vaddr+o] || empty != zero {
					continue
				}
				p := kernelPage{vaddr: s.vaddr + o, flags: uint64(s.flags & 7)}
				if empty {
					p.flags |= pageZero
				} else {
					p.data = s.data[o : o+abi.Page]
				}
				k.pages = append(k.pages, p)
			}
		}
	}
	slices.SortFunc(w.reached, func(a, b Symbol) int { return cmp.Compare(a.Value, b.Value) })
	return k.append(nil), w.reached, nil
}

// maxString is what the walk assumes of data without a symbol, in bytes.
const maxString = 256

// cut are the functions that mean the end of the kernel.
var cut = []string{
	"runtime.morestack", "runtime.panic", "runtime.goPanic", "runtime.gopanic", "runtime.sigpanic", "runtime.throw", "runtime.fatal",
}

// walker follows references from function to function.
type walker struct {
	segments []segment
	symbols  []Symbol
	keep     map[uint64]bool // page addresses
	done     map[uint64]bool
	work     []Symbol
	reached  []Symbol

	stringsLo, stringsHi uint64 // where the linker put strings
	references           []reference
}

// refer adds what an instruction refers to. A string is only noted.
func (w *walker) refer(r reference) {
	if r.to >= w.stringsLo && r.to < w.stringsHi {
		w.references = append(w.references, r)
		return
	}
	w.add(r.to)
}

func (w *walker) find(a uint64) *Symbol {
	i, ok := slices.BinarySearchFunc(w.symbols, a, func(s Symbol, a uint64) int { return cmp.Compare(s.Value, a) })
	if !ok {
		i--
	}
	if i >= 0 && a < w.symbols[i].Value+w.symbols[i].Size {
		return &w.symbols[i]
	}
	return nil
}

func (w *walker) bytes(a, n uint64) []byte {
	for _, s := range w.segments {
		if a >= s.vaddr && a < s.vaddr+uint64(len(s.data)) {
			return s.data[a-s.vaddr : min(a-s.vaddr+n, uint64(len(s.data)))]
		}
	}
	return nil
}

// text is the end of the code: the first segment.
func (w *walker) text() uint64 { return w.segments[0].vaddr + w.segments[0].memory }

func (w *walker) add(a uint64) {
	last := w.segments[len(w.segments)-1]
	if a < w.segments[0].vaddr || a >= last.vaddr+last.memory {
		return
	}
	s := w.find(a)
	if a < w.text() {
		if s == nil || s.Value != a || w.done[a] {
			return
		}
		for _, c := range cut {
			if strings.HasPrefix(s.Name, c) {
				return
			}
		}
	} else if s == nil || strings.HasPrefix(s.Name, "go:") || strings.HasPrefix(s.Name, "type:") || strings.HasPrefix(s.Name, "runtime.") && s.Size > abi.Page {
		// Strings, constants and jump tables have no symbols of their own. The kernel's strings are below maxString
		// bytes; a jump table is as long as its words are addresses of code.
		w.keep[a&^(abi.Page-1)] = true
		w.keep[(a+maxString)&^(abi.Page-1)] = true
		for ; ; a += 8 {
			b := w.bytes(a, 8)
			if len(b) < 8 {
				return
			}
			if to := binary.LittleEndian.Uint64(b); to < w.segments[0].vaddr || to >= w.text() {
				return
			}
			w.keep[a&^(abi.Page-1)] = true
			w.keep[(a+7)&^(abi.Page-1)] = true
		}
	}
	if !w.done[s.Value] {
		w.done[s.Value] = true
		w.work = append(w.work, *s)
	}
}

func (w *walker) walk(entry uint64) {
	w.add(entry)
	le := binary.LittleEndian
	for len(w.work) > 0 {
		s := w.work[len(w.work)-1]
		w.work = w.work[:len(w.work)-1]
		w.reached = append(w.reached, s)
		for a := s.Value &^ (abi.Page - 1); a < s.Value+s.Size; a += abi.Page {
			w.keep[a] = true
		}
		b := w.bytes(s.Value, s.Size)
		if s.Value >= w.text() {
			for i := 0; i+8 <= len(b); i += 8 {
				if to := le.Uint64(b[i:]); to < w.stringsLo || to >= w.stringsHi { // see inTables
					w.add(to)
				}
			}
			continue
		}
		for i := 0; i < len(b); {
			in, err := x86asm.Decode(b[i:], 64)
			if err != nil || in.Len == 0 { // an instruction that the decoder does not know (XSAVE), or padding
				i++
				continue
			}
			if in.PCRel == 4 {
				next := s.Value + uint64(i+in.Len)
				w.refer(reference{
					at: s.Value + uint64(i+in.PCRelOff), from: next, to: next + uint64(int64(int32(le.Uint32(b[i+in.PCRelOff:])))),
				})
			}
			for _, a := range in.Args {
				switch x := a.(type) {
				case x86asm.Mem:
					if x.Base == 0 {
						w.add(uint64(x.Disp))
					}
				case x86asm.Imm:
					w.add(uint64(x))
				}
			}
			i += in.Len
		}
	}
}

// KernelSource reports whether the symbols that TrimKernel reached are the kernel's own: no function of the runtime, so
// nothing that allocates, blocks or grows a stack. It names the others.
func KernelSource(reached []Symbol) error {
	allowed := []string{"main.", "go:"}
	var strange bytes.Buffer
	for _, s := range reached {
		if !slices.ContainsFunc(allowed, func(p string) bool { return strings.HasPrefix(s.Name, p) }) {
			fmt.Fprintf(&strange, " %s", s.Name)
		}
	}
	if strange.Len() > 0 {
		return fmt.Errorf("the kernel reaches code of the runtime (copy, a comparison of arrays or strings, an allocation?):%s", strange.String())
	}
	return nil
}
