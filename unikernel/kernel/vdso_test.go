package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"
	"unsafe"
)

// sysvHash is the hash of DT_HASH (System V ABI, "Hash Table").
func sysvHash(name string) uint32 {
	h := uint32(0)
	for i := range len(name) {
		h = h<<4 + uint32(name[i])
		g := h & 0xf0000000
		h = (h ^ g>>24) &^ g
	}
	return h
}

// A program finds the clock's function as start-up code does: program headers, dynamic table, hash, symbol, name.
func TestVDSOIsFound(t *testing.T) {
	page := make([]byte, pageSize)
	vdsoFill(uintptr(unsafe.Pointer(&page[0])))
	f, err := elf.NewFile(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 || len(f.Progs) != 2 {
		t.Fatalf("%+v", f.FileHeader)
	}
	if p := f.Progs[0]; p.Type != elf.PT_LOAD || p.Off != p.Vaddr || p.Memsz != pageSize || p.Flags != elf.PF_R|elf.PF_X {
		t.Errorf("%+v", p.ProgHeader)
	}
	le := binary.LittleEndian
	dyn := map[elf.DynTag]uint64{}
	if p := f.Progs[1]; p.Type != elf.PT_DYNAMIC {
		t.Fatalf("%+v", p.ProgHeader)
	} else {
		for at := p.Off; ; at += 16 {
			if at >= p.Off+p.Filesz {
				t.Fatal("the dynamic table has no end")
			}
			tag := elf.DynTag(le.Uint64(page[at:]))
			if tag == elf.DT_NULL {
				break
			}
			dyn[tag] = le.Uint64(page[at+8:])
		}
	}
	names := page[dyn[elf.DT_STRTAB]:][:dyn[elf.DT_STRSZ]]
	nameAt := func(i uint32) string {
		n, _, _ := bytes.Cut(names[i:], []byte{0})
		return string(n)
	}
	// The one version (Elf64_Verdef, Elf64_Verdaux).
	def := page[dyn[elf.DT_VERDEF]:]
	const version = "LINUX_2.6"
	if le.Uint16(def) != 1 || le.Uint16(def[2:]) != 0 || le.Uint16(def[6:]) != 1 || le.Uint32(def[8:]) != sysvHash(version) || le.Uint32(def[16:]) != 0 {
		t.Errorf("version definition % x", def[:20])
	}
	if aux := def[le.Uint32(def[12:]):]; nameAt(le.Uint32(aux)) != version || le.Uint32(aux[4:]) != 0 {
		t.Errorf("version name % x", aux[:8])
	}
	hash := page[dyn[elf.DT_HASH]:]
	nbucket, nchain := le.Uint32(hash), le.Uint32(hash[4:])
	const name = "__vdso_clock_gettime"
	i := le.Uint32(hash[8+4*(sysvHash(name)%nbucket):])
	for n := 0; ; n++ {
		if i == 0 || i >= nchain || n > 10 {
			t.Fatalf("the hash does not lead to %s", name)
		}
		var sym elf.Sym64
		if err := binary.Read(bytes.NewReader(page[dyn[elf.DT_SYMTAB]+uint64(i)*dyn[elf.DT_SYMENT]:]), le, &sym); err != nil {
			t.Fatal(err)
		}
		if nameAt(sym.Name) != name {
			i = le.Uint32(hash[8+4*nbucket+4*i:])
			continue
		}
		if elf.ST_TYPE(sym.Info) != elf.STT_FUNC || elf.ST_BIND(sym.Info) != elf.STB_GLOBAL || sym.Shndx == 0 {
			t.Errorf("%+v", sym)
		}
		if v := le.Uint16(page[dyn[elf.DT_VERSYM]+2*uint64(i):]); v != le.Uint16(def[4:]) {
			t.Errorf("the function is of version %d", v)
		}
		code := page[sym.Value:][:sym.Size]
		end := bytes.LastIndexByte(code, 0xc3) // RET
		if !bytes.HasPrefix(code, []byte{0x83, 0xff, 0x01}) || end < 100 || end > len(code)-3 {
			t.Errorf("the function is\n% x", code)
		}
		if bytes.IndexFunc(code[end+1:], func(r rune) bool { return r != 0 }) >= 0 {
			t.Errorf("behind the function is\n% x", code[end+1:])
		}
		return
	}
}
