package blkif

import (
	"errors"
	"fmt"

	"morgana/xen"
	"morgana/xen/ring"
)

// ABI is the layout of a slot.
type ABI uint8

const (
	// ABI64 aligns 64-bit numbers to eight bytes: x86-64 and ARM.
	ABI64 ABI = iota
	// ABI32 aligns them to four: x86 with 32 bits.
	ABI32

	// Native is the layout of this machine.
	Native = ABI64
)

// Values of the node "protocol" (io/protocols.h).
const (
	protocolX86x32 = "x86_32-abi"
	protocolX86x64 = "x86_64-abi"
	protocolARM    = "arm-abi"
)

// ErrProtocol tells a "protocol" that nobody speaks.
var ErrProtocol = errors.New("unknown block protocol")

// ParseProtocol gives the layout for the value of a frontend's node "protocol". A node that is missing or empty means
// ABI32, as it does to Linux's backend on x86.
func ParseProtocol(s string) (ABI, error) {
	switch s {
	case "", protocolX86x32:
		return ABI32, nil
	case protocolX86x64, protocolARM:
		return ABI64, nil
	}
	return 0, fmt.Errorf("%w %.40q: %s, %s or %s wanted", ErrProtocol, s, protocolX86x32, protocolX86x64, protocolARM)
}

// String is what a frontend of this layout writes as its "protocol".
func (a ABI) String() string {
	if a == ABI32 {
		return protocolX86x32
	}
	return protocolX86x64
}

// SlotSize is the size of a slot in bytes: 112, or 108 for ABI32. Requests and responses are at most that long.
func (a ABI) SlotSize() int {
	if a == ABI32 {
		return 108
	}
	return 112
}

// Slots is how many slots a ring of 1<<order pages has: 32 for one page, 512 for order 4.
func (a ABI) Slots(order int) int { return ring.Slots(xen.PageSize<<order, a.SlotSize()) }
