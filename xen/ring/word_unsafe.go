package ring

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Word is the 32-bit word at offset off of shared memory, for atomic use. It fails if the word is not wholly
// inside mem or not aligned. The memory must stay mapped as long as the word is used.
func Word(mem []byte, off int) (*atomic.Uint32, error) {
	if off < 0 || off > len(mem)-4 {
		return nil, fmt.Errorf("ring: word at offset %d of %d bytes: out of range", off, len(mem))
	}
	p := unsafe.Pointer(&mem[off])
	if uintptr(p)%4 != 0 {
		return nil, fmt.Errorf("ring: word at offset %d: not aligned to 4 bytes", off)
	}
	return (*atomic.Uint32)(p), nil
}
