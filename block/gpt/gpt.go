// Package gpt finds the partitions of a disk in its GUID partition table, and those in disk images. It is pure, and
// only reads.
//
//	parts, err := gpt.Read(dev)
//	part, err := block.Sub(dev, parts[0].Start, parts[0].Size)
//
// Source: UEFI specification 2.10, section 5.3.
package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unicode/utf16"

	"morgana/block"
)

// ErrNone says that a disk has no partition table.
var ErrNone = errors.New("no partition table")

// A Partition is a part of a disk.
type Partition struct {
	Number      int // from 1
	Type        GUID
	ID          GUID
	Start, Size int64 // bytes
	Name        string
}

// A GUID is as the disk has it: the first three fields are little-endian.
type GUID [16]byte

func (g GUID) String() string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08X-%04X-%04X-%X-%X", le.Uint32(g[0:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:16])
}

// LVM is the type of partitions that are physical volumes of LVM2.
var LVM = GUID{0x79, 0xd3, 0xd6, 0xe6, 0x07, 0xf5, 0xc2, 0x44, 0xa2, 0x3c, 0x23, 0x8f, 0x2a, 0x3d, 0xf9, 0x28}

const (
	signature  = "EFI PART"
	headerSize = 92
	maxEntries = 4096
)

// Read returns the partitions in the order of their numbers. A damaged table is tried to be read from its copy at the
// end of the disk. A disk that has none gives ErrNone.
func Read(d block.Device) ([]Partition, error) {
	err := ErrNone
	for _, sector := range []int64{int64(d.SectorSize()), 4096, 512} { // an image may be of a disk with other sectors
		for _, lba := range []int64{1, d.Size()/sector - 1} {
			parts, e := readAt(d, sector, lba)
			if e == nil {
				return parts, nil
			}
			if !errors.Is(e, ErrNone) && errors.Is(err, ErrNone) {
				err = e
			}
		}
	}
	return nil, err
}

func readAt(d block.Device, sector, lba int64) ([]Partition, error) {
	h := make([]byte, headerSize)
	if block.CheckRange(lba*sector, headerSize, d.Size()) != nil || lba < 1 {
		return nil, ErrNone
	}
	if _, err := d.ReadAt(h, lba*sector); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(h[:8]) != signature || le.Uint64(h[24:]) != uint64(lba) {
		return nil, ErrNone
	}
	sum := le.Uint32(h[16:])
	clear(h[16:20])
	if le.Uint32(h[12:]) != headerSize || crc32.ChecksumIEEE(h) != sum {
		return nil, fmt.Errorf("partition table at byte %d: the header's checksum is wrong", lba*sector)
	}
	at, n, size := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	if n > maxEntries || size < 128 || size > 4096 || at > uint64(d.Size()/sector) {
		return nil, fmt.Errorf("partition table at byte %d: %d entries of %d bytes at sector %d", lba*sector, n, size, at)
	}
	entries := make([]byte, n*size)
	if _, err := d.ReadAt(entries, int64(at)*sector); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		return nil, fmt.Errorf("partition table at byte %d: the entries' checksum is wrong", lba*sector)
	}
	var parts []Partition
	for i := range int(n) {
		e := entries[i*int(size):][:128]
		p := Partition{Number: i + 1, Type: GUID(e[:16]), ID: GUID(e[16:32])}
		if p.Type == (GUID{}) {
			continue
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if first > last || last >= uint64(d.Size()/sector) {
			return nil, fmt.Errorf("partition %d: sectors %d to %d of %d", p.Number, first, last, d.Size()/sector)
		}
		p.Start, p.Size = int64(first)*sector, int64(last-first+1)*sector
		var name []uint16
		for j := 56; j < 128; j += 2 {
			c := le.Uint16(e[j:])
			if c == 0 {
				break
			}
			name = append(name, c)
		}
		p.Name = string(utf16.Decode(name))
		parts = append(parts, p)
	}
	return parts, nil
}
