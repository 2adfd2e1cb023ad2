package image

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"go/ast"
	goconst "go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"morgana/unikernel/internal/abi"
)

// Go's linker sorts all strings by length, so that the few of the kernel are spread over those of the runtime. They are
// put together here, and what refers to them is changed.

// A reference is where the kernel holds the address of a string.
type reference struct {
	at   uint64 // address of the field
	from uint64 // what the field counts from: the next instruction's address, 0 for an absolute one of 8 bytes
	to   uint64
}

// stringsOf finds where the linker put strings: from its own symbol to the one that follows.
func stringsOf(all []Symbol) (lo, hi uint64) {
	for _, s := range all {
		if s.Name == "go:string.*" {
			lo = s.Value
		}
	}
	for _, s := range all {
		if lo != 0 && s.Value > lo && (hi == 0 || s.Value < hi) {
			hi = s.Value
		}
	}
	return lo, hi
}

// inTables finds the strings that tables refer to. Not all tables have symbols: a word in a page that is kept which is
// the address of a string is taken for one. Where it is the runtime's, its string is kept too, and nobody misses it.
func (w *walker) inTables() {
	for _, s := range w.segments[1:] {
		for o := 0; o+8 <= len(s.data); o += 8 {
			a, to := s.vaddr+uint64(o), binary.LittleEndian.Uint64(s.data[o:])
			if w.keep[a&^(abi.Page-1)] && to >= w.stringsLo && to < w.stringsHi {
				w.references = append(w.references, reference{at: a, to: to})
			}
		}
	}
}

// gather packs the strings that were referred to into pages where the linker's strings were, and changes the references.
func (w *walker) gather(literals []string) error {
	w.inTables()
	if len(w.references) == 0 {
		return nil
	}
	first := (w.stringsLo + abi.Page - 1) &^ (abi.Page - 1)
	slices.SortFunc(w.references, func(a, b reference) int { return cmp.Compare(a.to, b.to) })
	var packed []byte
	done, moved := uint64(0), uint64(0) // the end, and how far it went, of the piece that was packed last
	for _, r := range w.references {
		end := r.to + uint64(w.length(r.to, literals))
		if r.to >= done { // nothing in common with the one before
			moved = first + uint64(len(packed)) - r.to
			done = r.to
		}
		if end > done {
			packed = append(packed, w.bytes(done, end-done)...)
			done = end
		}
		field := w.bytes(r.at, 8)
		if r.from == 0 {
			binary.LittleEndian.PutUint64(field, r.to+moved)
		} else {
			binary.LittleEndian.PutUint32(field, uint32(r.to+moved-r.from))
		}
	}
	end := first + pageUp(uint64(len(packed)))
	for a := first &^ (abi.Page - 1); a < end; a += abi.Page {
		if w.keep[a] {
			return fmt.Errorf("the kernel refers to strings at %#x in a way that cannot be changed", a)
		}
		w.keep[a] = true
	}
	if end > w.stringsHi {
		return fmt.Errorf("the kernel's strings have %d bytes, more than all strings had", len(packed))
	}
	to := w.bytes(first, end-first)
	clear(to[copy(to, packed):])
	return nil
}

// length is how long the string at a is at most. It is one of the literals, or what is left of one; maxString if not.
func (w *walker) length(a uint64, literals []string) int {
	b := w.bytes(a, maxString)
	longest := 0
	for _, l := range literals {
		for i := range len(l) {
			if len(l)-i > longest && bytes.HasPrefix(b, []byte(l[i:])) {
				longest = len(l) - i
			}
		}
	}
	if longest == 0 {
		return len(b)
	}
	return longest
}

// KernelStrings returns the constant strings of the kernel's source, with the longest last: what TrimKernel needs to
// know how long a string is of which it finds the address.
func KernelStrings() ([]string, error) {
	c := exec.Command("go", "list", "-f", "{{.Dir}}", "morgana/unikernel/kernel")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", c, err)
	}
	names, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*.go"))
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	// Only constants are wanted: packages that are imported, and what is built under a condition, may be wrong.
	info := types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
	conf := types.Config{Error: func(error) {}, Importer: importer.Default()}
	_, _ = conf.Check("main", fset, files, &info)
	found := make(map[string]bool)
	for _, tv := range info.Types {
		if tv.Value != nil && tv.Value.Kind() == goconst.String {
			found[goconst.StringVal(tv.Value)] = true
		}
	}
	var list []string
	for s := range found {
		if len(s) >= maxString {
			return nil, fmt.Errorf("a string of the kernel has %d bytes; at most %d: %.40q", len(s), maxString-1, s)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return list, nil
}
