package ring

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Word is the 32-bit word at offset off of shared memory, for atomic use. It fails if the word is not wholly
// inside mem or not aligned. The memory must stay mapped as long as the word is used.
func Word(mem []byte, off int) (*atomic.Uint32, error) {
	p, err := word(mem, off, 4)
	return (*atomic.Uint32)(p), err
}

// Word64 is Word for the 64-bit word at offset off.
func Word64(mem []byte, off int) (*atomic.Uint64, error) {
	p, err := word(mem, off, 8)
	return (*atomic.Uint64)(p), err
}

func word(mem []byte, off, size int) (unsafe.Pointer, error) {
	if off < 0 || off > len(mem)-size {
		return nil, fmt.Errorf("ring: word at offset %d of %d bytes: out of range", off, len(mem))
	}
	p := unsafe.Pointer(&mem[off])
	if uintptr(p)%uintptr(size) != 0 {
		return nil, fmt.Errorf("ring: word at offset %d: not aligned to %d bytes", off, size)
	}
	return p, nil
}
