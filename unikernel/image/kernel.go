package image

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"

	"morgana/unikernel/internal/abi"
)

//go:generate go run morgana/unikernel/image/mkkernel kernel.bin
//go:generate go run morgana/unikernel/image/mksyscalls syscalls_generated.go ../../docs/syscalls.md

// embedded is the trimmed kernel that TrimKernel made of unikernel/kernel.
//
//go:embed kernel.bin
var embedded []byte

// Kernel returns the embedded kernel. The caller must not change it.
func Kernel() []byte { return embedded }

// A trimmed kernel: magic, entry, number of pages, then {vaddr, flags} a page (all u64), then the content of the pages
// that have one, in order.
const (
	kernelMagic = 0x314e524b4b494e55 // "UNIKKRN1"

	pageWrite = 2
	pageExec  = 1
	pageZero  = 8 // no content
)

// maxKernel is how far above abi.KernelBase a kernel's pages may lie, in bytes.
const maxKernel = 64 << 20

type kernelPage struct {
	vaddr uint64
	flags uint64
	data  []byte
}

type kernel struct {
	entry uint64
	pages []kernelPage
}

func (k *kernel) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, kernelMagic)
	b = le.AppendUint64(b, k.entry)
	b = le.AppendUint64(b, uint64(len(k.pages)))
	for _, p := range k.pages {
		b = le.AppendUint64(b, p.vaddr)
		b = le.AppendUint64(b, p.flags)
	}
	for _, p := range k.pages {
		b = append(b, p.data...)
	}
	return b
}

var errKernel = errors.New("damaged kernel; build it again with go generate ./unikernel/image")

func parseKernel(b []byte) (*kernel, error) {
	le := binary.LittleEndian
	if len(b) < 24 || le.Uint64(b) != kernelMagic {
		return nil, errKernel
	}
	k := &kernel{entry: le.Uint64(b[8:])}
	n := le.Uint64(b[16:])
	b = b[24:]
	if n > uint64(len(b))/16 {
		return nil, errKernel
	}
	data := b[n*16:]
	for i := range n {
		p := kernelPage{vaddr: le.Uint64(b[i*16:]), flags: le.Uint64(b[i*16+8:])}
		if p.vaddr%abi.Page != 0 || p.vaddr < abi.KernelBase || p.vaddr-abi.KernelBase >= maxKernel {
			return nil, fmt.Errorf("%w: page %#x", errKernel, p.vaddr)
		}
		if p.flags&pageZero == 0 {
			if len(data) < 4096 {
				return nil, errKernel
			}
			p.data, data = data[:4096], data[4096:]
		}
		k.pages = append(k.pages, p)
	}
	return k, nil
}
