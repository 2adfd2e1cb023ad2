package metadata

import (
	"io"
	"math"
	"slices"
	"strconv"

	"morgana/lvm/text"
)

// Extent numbers an extent of a physical or logical volume, or counts extents.
type Extent uint32

// SectorSize is the unit of every size in the metadata: 512 bytes, whatever the disk's own sectors are.
const SectorSize = 512

// maxExtents is the most extents that a logical volume may have.
const maxExtents = math.MaxUint32

// Allocation is a policy for the choice of extents. The order is that in which they are tried.
type Allocation uint8

// The policies. A logical volume with AllocInherit has that of its group.
const (
	AllocInherit Allocation = iota
	AllocContiguous
	AllocCling
	AllocClingByTags
	AllocNormal
	AllocAnywhere
)

var allocationNames = [...]string{"inherit", "contiguous", "cling", "cling_by_tags", "normal", "anywhere"}

func (a Allocation) String() string {
	if int(a) < len(allocationNames) {
		return allocationNames[a]
	}
	return "invalid"
}

// ParseAllocation reads a policy's name as in the metadata or on a command line.
func ParseAllocation(s string) (Allocation, bool) {
	if s == "next free" { // of old metadata
		return AllocNormal, true
	}
	i := slices.Index(allocationNames[:], s)
	return Allocation(max(i, 0)).stored(), i >= 0
}

// stored is what a policy becomes when a volume or group keeps it: as in LVM2, cling always looks at tags too.
func (a Allocation) stored() Allocation {
	if a == AllocClingByTags {
		return AllocCling
	}
	return a
}

// The special values of ReadAhead.
const (
	ReadAheadAuto ReadAhead = 0
	ReadAheadNone ReadAhead = math.MaxUint32
)

// ReadAhead is how many sectors the kernel reads ahead.
type ReadAhead uint32

// Env is what a request needs from outside.
type Env struct {
	Rand io.Reader // for uuids
	Now  int64     // seconds since 1970, for creation times
	Host string    // for creation hosts

	// ClingTags are the tags of allocation/cling_tag_list, each with '@'; "@*" stands for any.
	ClingTags []string
	// NoMaximiseCling is allocation/maximise_cling=0.
	NoMaximiseCling bool

	// slow makes every pass of the allocator, also where the outcome is known before; for tests.
	slow bool
}

// Stamp says who wrote a text, when and why.
type Stamp = text.Header

// Amount is a size as users give it: of -L in sectors, or of -l in extents or percent.
type Amount struct {
	Sign    Sign
	Sectors uint64 // of -L; counts if it is not 0
	Count   uint64 // of -l: extents, or percent
	Of      Of     // what percent are of
}

// Sign is the sign before an amount.
type Sign int8

// The signs: a plain amount is the new size, others change the size by it.
const (
	Plain Sign = iota
	Plus
	Minus
)

// Of is what percent are of.
type Of uint8

// The bases of percentages: extents are a number of extents.
const (
	OfNone Of = iota
	OfFree
	OfVG
	OfPVs
	OfOrigin
	OfLV
)

func (o Of) String() string {
	return [...]string{"", "FREE", "VG", "PVS", "ORIGIN", "LV"}[o]
}

// Extents is the Amount of n extents.
func Extents(n Extent) Amount { return Amount{Count: uint64(n)} }

// Sectors is the Amount of n sectors.
func Sectors(n uint64) Amount { return Amount{Sectors: n} }

// Percent is the Amount of n percent of something.
func Percent(n uint64, of Of) Amount { return Amount{Count: n, Of: of} }

// FormatSize shows a size as LVM2 does in its messages: in the unit that suits, with two digits, and with a '<' where
// rounding made it larger than it is.
func FormatSize(sectors uint64) string {
	if sectors == 0 {
		return "0   " // so in lvm2
	}
	bytes := float64(sectors) * SectorSize
	if sectors < 2 {
		return strconv.FormatUint(sectors*SectorSize, 10) + " B"
	}
	units := [...]string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i, unit := 0, 1024.0
	for i < len(units)-1 && bytes >= unit*1024 {
		i, unit = i+1, unit*1024
	}
	return formatScaled(bytes/unit) + " " + units[i]
}

func formatScaled(f float64) string {
	s := strconv.FormatFloat(f, 'f', 2, 64)
	if shown, _ := strconv.ParseFloat(s, 64); shown > f {
		return "<" + s
	}
	return s
}

func percentOf(percent uint64, of Extent, roundUp bool) uint64 {
	n := percent * uint64(of)
	if roundUp {
		n += 99
	}
	return n / 100
}
