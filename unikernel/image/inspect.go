package image

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"

	"morgana/unikernel/internal/abi"
)

// A Report says what a file consists of.
type Report struct {
	Kind       string    `json:"kind"`
	Image      bool      `json:"image"`
	Go         string    `json:"go,omitempty"`
	Main       string    `json:"main,omitempty"`
	Name       string    `json:"name,omitempty"`
	Entry      uint64    `json:"entry"`
	PVHEntry   uint64    `json:"pvh_entry,omitempty"`
	Start      uint64    `json:"start,omitempty"`
	End        uint64    `json:"end,omitempty"`
	MinimumMiB int       `json:"minimum_mib,omitempty"`
	Segments   []Part    `json:"segments"`
	Files      []File    `json:"files,omitempty"`
	Packages   []Package `json:"packages,omitempty"`

	Syscalls *SyscallReport `json:"syscalls"`
}

// A Part is a segment of the file, sizes in bytes.
type Part struct {
	What   string `json:"what"`
	Rights string `json:"rights"`
	Vaddr  uint64 `json:"vaddr"`
	Paddr  uint64 `json:"paddr"`
	File   uint64 `json:"file"`
	Memory uint64 `json:"memory"`
}

// A Package is a Go package's share of the code.
type Package struct {
	Name  string `json:"name"`
	Bytes uint64 `json:"bytes"`
}

// Inspect looks into an image or into a program that could become one. Errors match ErrProgram.
func Inspect(b []byte) (*Report, error) {
	f, err := openELF(b)
	if err != nil {
		return nil, err
	}
	r := &Report{Kind: "static Linux program", Entry: f.Entry}
	var table []byte
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr == abi.Base && p.Filesz >= abi.BootKPT && p.Off <= uint64(len(b)) && p.Filesz <= uint64(len(b))-p.Off {
			table = b[p.Off+abi.BootTable : p.Off+abi.BootPML4]
		}
	}
	if table != nil && binary.LittleEndian.Uint64(table) == abi.TableMagic {
		r.image(table)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		s := Part{What: "program", Rights: rights(p.Flags), Vaddr: p.Vaddr, Paddr: p.Paddr, File: p.Filesz, Memory: p.Memsz}
		switch {
		case !r.Image:
		case p.Vaddr == abi.Base:
			s.What = "boot"
		case p.Vaddr >= abi.KernelBase:
			s.What = "kernel"
		case p.Vaddr == p.Paddr:
			s.What = "files"
			if p.Off <= uint64(len(b)) && p.Filesz <= uint64(len(b))-p.Off {
				r.Files, _ = ParseArchive(b[p.Off : p.Off+p.Filesz])
			}
		}
		r.Segments = append(r.Segments, s)
	}
	if info, err := buildinfo.Read(bytes.NewReader(b)); err == nil {
		r.Go, r.Main = info.GoVersion, info.Path
	}
	fns := functions(b, f)
	r.Packages = packages(fns)
	r.Syscalls = syscallsOf(b, f, fns, r.Image)
	return r, nil
}

func (r *Report) image(t []byte) {
	le := binary.LittleEndian
	r.Kind, r.Image, r.PVHEntry = "PVH image", true, abi.Base
	r.Start, r.End, r.Entry = le.Uint64(t[abi.TabStart:]), le.Uint64(t[abi.TabEnd:]), le.Uint64(t[abi.TabEntry:])
	r.Name = string(bytes.TrimRight(t[abi.TabName:abi.TabNSeg], "\x00"))
	r.MinimumMiB = Layout{Start: r.Start, End: r.End}.MinimumMiB()
}

func rights(f elf.ProgFlag) string {
	s := []byte("---")
	for i, b := range []elf.ProgFlag{elf.PF_R, elf.PF_W, elf.PF_X} {
		if f&b != 0 {
			s[i] = "rwx"[i]
		}
	}
	return string(s)
}

// packages sums code by Go package.
func packages(fns []function) (list []Package) {
	sum := map[string]uint64{}
	for _, fn := range fns {
		name := fn.name
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			if j := strings.IndexByte(name[i:], '.'); j >= 0 {
				name = name[:i+j]
			}
		} else if j := strings.IndexByte(name, '.'); j > 0 {
			name = name[:j]
		}
		sum[name] += fn.end - fn.start
	}
	for n, s := range sum {
		list = append(list, Package{n, s})
	}
	slices.SortFunc(list, func(a, b Package) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name))
	})
	return list
}
