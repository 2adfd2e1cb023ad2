package image

import (
	"encoding/binary"
	"fmt"
	"strings"

	"morgana/unikernel/internal/abi"
)

// Options say what else goes into an image.
type Options struct {
	Name  string // the program's argv[0], at most MaxName bytes; "program" if empty
	Files []File // files that the program finds in its file system
}

// MaxName is the longest name of a program, in bytes.
const MaxName = abi.TabNSeg - abi.TabName - 1

// maxImage is where an image must end, physically: the boot tables map the first GiB.
const maxImage = 1 << 30

// Layout tells what an image consists of, in bytes.
type Layout struct {
	Boot         int    `json:"boot"`
	Kernel       int    `json:"kernel"`        // kernel pages in the file
	KernelMemory int    `json:"kernel_memory"` // … in memory
	Program      int    `json:"program"`
	Files        int    `json:"files"`
	Start        uint64 `json:"start"` // physical
	End          uint64 `json:"end"`
	Size         int    `json:"size"` // of the image file
}

// MinimumMiB is the least memory= that the image can be given: itself, page tables, stacks and a little heap.
func (l Layout) MinimumMiB() int { return int((l.End-l.Start+2<<20)>>20) + 2 }

// Join makes a PVH image of the embedded kernel and a static Linux program (an ELF file). An error about the program
// matches ErrProgram and names the remedy.
func Join(programELF []byte, o Options) ([]byte, Layout, error) {
	return JoinKernel(Kernel(), programELF, o)
}

// load is one PT_LOAD of the image.
type load struct {
	data         []byte
	vaddr, paddr uint64
	memory       uint64
	flags        uint32
}

// JoinKernel is Join with another trimmed kernel.
func JoinKernel(kernelBlob, programELF []byte, o Options) ([]byte, Layout, error) {
	k, err := parseKernel(kernelBlob)
	if err != nil {
		return nil, Layout{}, err
	}
	p, err := parseProgram(programELF)
	if err != nil {
		return nil, Layout{}, err
	}
	if o.Name == "" {
		o.Name = "program"
	}
	if len(o.Name) > MaxName || strings.ContainsRune(o.Name, 0) {
		return nil, Layout{}, bad("the name %q is longer than %d bytes or has a zero byte; give another one", o.Name, MaxName)
	}
	var carried uint64
	for _, f := range o.Files {
		carried += uint64(len(f.Data))
	}
	if carried >= maxImage {
		return nil, Layout{}, bad("the files to carry have %d MiB and the image must end in the first GiB; carry fewer or smaller files", carried>>20)
	}
	archive, err := AppendArchive(nil, o.Files)
	if err != nil {
		return nil, Layout{}, err
	}
	var top uint64
	for _, pg := range k.pages {
		top = max(top, pg.vaddr+abi.Page)
	}
	tables := (top - abi.KernelBase + 2<<20 - 1) >> 21
	b := bootPages{make([]byte, abi.BootKPT+tables*abi.Page)}
	at := uint64(abi.Base + len(b.bytes))

	// Kernel: the pages with content, then the empty ones.
	var kdata, kzero load
	kdata.flags, kzero.flags = 7, 6
	for _, pg := range k.pages {
		l := &kdata
		if pg.flags&pageZero != 0 {
			l = &kzero
		}
		if l.memory == 0 {
			l.vaddr, l.paddr = pg.vaddr, at
		}
		b.mapKernel(pg, at)
		l.data = append(l.data, pg.data...)
		l.memory += abi.Page
		at += abi.Page
	}
	loads := []load{{vaddr: abi.Base, paddr: abi.Base, flags: 7}, kdata, kzero}

	// Program and files.
	b.table(abi.TabStart, abi.Base)
	b.table(abi.TabEntry, p.entry)
	b.table(abi.TabPhdr, p.phdr)
	b.table(abi.TabPhnum, p.phnum)
	b.table(abi.TabNSeg, uint64(len(p.segments)))
	copy(b.bytes[abi.BootTable+abi.TabName:], o.Name)
	l := Layout{Boot: len(b.bytes), Kernel: len(kdata.data), KernelMemory: int(kdata.memory + kzero.memory), Start: abi.Base}
	for i, s := range p.segments {
		b.segment(i, s, at)
		if n := uint64(len(s.data)); n > 0 {
			loads = append(loads, load{data: s.data, vaddr: s.vaddr, paddr: at, memory: n, flags: s.flags})
			at += n
			l.Program += int(n)
		}
	}
	if len(archive) > 0 {
		b.table(abi.TabFiles, at)
		b.table(abi.TabFilesLen, uint64(len(archive)))
		data := make([]byte, pageUp(uint64(len(archive))))
		copy(data, archive)
		loads = append(loads, load{data: data, vaddr: at, paddr: at, memory: uint64(len(data)), flags: 4})
		at += uint64(len(data))
		l.Files = len(archive)
	}
	if at > maxImage {
		return nil, Layout{}, bad("the image would end at %d MiB, beyond the first GiB; carry fewer or smaller files", at>>20)
	}
	b.table(abi.TabEnd, at)
	b.finish(k.entry)
	loads[0].data, loads[0].memory = b.bytes, uint64(len(b.bytes))
	out := writeELF(loads)
	l.End, l.Size = at, len(out)
	return out, l, nil
}

// writeELF lays the image file out: a page of headers, then the segments.
func writeELF(loads []load) []byte {
	le := binary.LittleEndian
	out := make([]byte, abi.Page)
	copy(out, "\x7fELF\x02\x01\x01")
	le.PutUint16(out[16:], 2)        // ET_EXEC
	le.PutUint16(out[18:], 62)       // EM_X86_64
	le.PutUint32(out[20:], 1)        // EV_CURRENT
	le.PutUint64(out[24:], abi.Base) // Xen's loader wants an entry inside the image; PVH uses the note
	le.PutUint64(out[32:], 64)
	le.PutUint16(out[52:], 64)
	le.PutUint16(out[54:], 56)
	le.PutUint16(out[56:], uint16(len(loads)+1))
	le.PutUint16(out[58:], 64)
	header := func(i int, kind, flags uint32, v ...uint64) {
		h := out[64+56*i:]
		le.PutUint32(h, kind)
		le.PutUint32(h[4:], flags)
		for j, x := range v {
			le.PutUint64(h[8+8*j:], x)
		}
	}
	for i, s := range loads {
		header(i, 1, s.flags, uint64(len(out)), s.vaddr, s.paddr, uint64(len(s.data)), s.memory, abi.Page)
		out = append(out, s.data...)
	}
	// QEMU's -kernel steps through notes by p_align: 4.
	header(len(loads), 4, 4, abi.Page+abi.BootNote, abi.Base+abi.BootNote, abi.Base+abi.BootNote, noteSize, noteSize, 4)
	return out
}

func (l Layout) String() string {
	return fmt.Sprintf("%d bytes: boot %d, kernel %d (%d in memory), program %d, files %d; memory=%d or more",
		l.Size, l.Boot, l.Kernel, l.KernelMemory, l.Program, l.Files, l.MinimumMiB())
}
