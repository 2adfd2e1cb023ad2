package image

import (
	"bytes"
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
)

// A function of a Go program, by its table of functions, which stripped programs have too.
type function struct {
	name       string
	start, end uint64 // virtual addresses
}

// functions reads the table of functions of a program or of the program in an image; nothing if there is none or it is
// damaged. Sorted by address.
func functions(b []byte, f *elf.File) (list []function) {
	defer func() {
		if recover() != nil { // debug/gosym trusts its input
			list = nil
		}
	}()
	tab, text := functionTable(b, f)
	if !plausible(tab) {
		return nil
	}
	t, err := gosym.NewTable(nil, gosym.NewLineTable(tab, text))
	if err != nil {
		return nil
	}
	for _, fn := range t.Funcs {
		if fn.Entry < fn.End && (len(list) == 0 || fn.Entry >= list[len(list)-1].end) {
			list = append(list, function{fn.Name, fn.Entry, fn.End})
		}
	}
	return list
}

// functionTable finds .gopclntab and the address of the code that it begins with. An image has no sections: there the
// table is found by its first bytes, and the code begins a page behind the program's ELF header, where Go's linker puts
// it.
func functionTable(b []byte, f *elf.File) (tab []byte, text uint64) {
	if s, t := f.Section(".gopclntab"), f.Section(".text"); s != nil && t != nil {
		if data, err := s.Data(); err == nil {
			return data, t.Addr
		}
		return nil, 0
	}
	for _, p := range f.Progs {
		data := content(b, p)
		switch {
		case p.Type != elf.PT_LOAD || p.Vaddr >= kernelHalf:
		case p.Flags&elf.PF_X != 0:
			if bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
				text = p.Vaddr + 0x1000
			}
		case tab == nil:
			for at := 0; at < len(data); at += 8 {
				i := bytes.Index(data[at:], magic120)
				if i < 0 {
					break
				}
				if at += i; at%8 == 0 {
					tab = data[at:]
					break
				}
				at &^= 7
			}
		}
	}
	if text == 0 {
		return nil, 0
	}
	return tab, text
}

// The first bytes of a table of functions on amd64, from Go 1.20 and 1.18 on (runtime/symtab.go, pcHeader).
var (
	magic120 = []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8}
	magic118 = []byte{0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8}
)

// plausible keeps debug/gosym, which trusts its input, from allocating what a damaged header says.
func plausible(tab []byte) bool {
	if len(tab) < 72 || !bytes.HasPrefix(tab, magic120) && !bytes.HasPrefix(tab, magic118) {
		return false
	}
	le := binary.LittleEndian
	nfunc, nfile := le.Uint64(tab[8:]), le.Uint64(tab[16:])
	return nfunc <= uint64(len(tab))/8 && nfile <= uint64(len(tab))
}

const kernelHalf = 1 << 63

// content is what the file holds of a segment; nothing if the header lies.
func content(b []byte, p *elf.Prog) []byte {
	if p.Off > uint64(len(b)) || p.Filesz > uint64(len(b))-p.Off {
		return nil
	}
	return b[p.Off : p.Off+p.Filesz]
}
