// Package signatures recognizes what a disk may hold that is worth a question before it is overwritten: file systems,
// swap, RAID members, encrypted containers, partition tables.
//
// Sources: libblkid's list of superblocks; each format's own specification for the place of its mark.
package signatures

import (
	"bytes"
	"encoding/binary"

	"morgana/block"
)

// Signature is a mark of a format.
type Signature struct {
	Name       string
	Offset     int64 // of the mark, in bytes
	Partitions bool  // a partition table
	length     int
}

type mark struct {
	name   string
	offset int64 // negative ones count from the end
	magic  string
}

// marks are those that stand at fixed places.
var marks = []mark{
	{"xfs", 0, "XFSB"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"swap", 4086, "SWAPSPACE2"},
	{"swsuspend", 4086, "S1SUSPEND"},
	{"crypto_LUKS", 0, "LUKS\xba\xbe"},
	{"squashfs", 0, "hsqs"},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"iso9660", 0x8001, "CD001"},
	{"udf", 0x8001, "BEA01"},
	{"ntfs", 3, "NTFS    "},
	{"exfat", 3, "EXFAT   "},
	{"vfat", 82, "FAT32   "},
	{"vfat", 54, "FAT16   "},
	{"vfat", 54, "FAT12   "},
	{"reiserfs", 0x10034, "ReIsEr"},
	{"jfs", 0x8000, "JFS1"},
	{"bcachefs", 0x1018, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"zfs_member", 0x20000 + 0x2800, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
	{"linux_raid_member", 4096, "\xfc\x4e\x2b\xa9"},
	{"linux_raid_member", 0, "\xfc\x4e\x2b\xa9"},
	{"DM_snapshot_cow", 0, "SnAp"},
	{"LVM1_member", 0, "HM\x01\x00"},
}

// Find returns what is on a disk, in the order of the places.
func Find(d block.Device) ([]Signature, error) {
	head := make([]byte, min(d.Size(), 256<<10))
	if _, err := d.ReadAt(head, 0); err != nil {
		return nil, err
	}
	at := func(off, n int64) []byte {
		if off < 0 || off+n > int64(len(head)) {
			return nil
		}
		return head[off : off+n]
	}
	var found []Signature
	for _, m := range marks {
		if bytes.Equal(at(m.offset, int64(len(m.magic))), []byte(m.magic)) {
			found = append(found, Signature{Name: m.name, Offset: m.offset, length: len(m.magic)})
		}
	}
	if s, ok := ext(at(1024, 1024)); ok {
		found = append(found, s)
	}
	if bytes.Equal(at(512, 8), []byte("EFI PART")) {
		found = append(found, Signature{Name: "gpt", Offset: 512, Partitions: true, length: 8})
	}
	if len(found) == 0 && partitioned(at(0, 512)) {
		found = append(found, Signature{Name: "dos", Offset: 510, Partitions: true, length: 2})
	}
	return found, nil
}

// ext tells ext2, ext3 and ext4 from each other by their features.
func ext(super []byte) (Signature, bool) {
	const magic, journal = 0x38, 0x4
	if super == nil || super[magic] != 0x53 || super[magic+1] != 0xef {
		return Signature{}, false
	}
	s := Signature{Name: "ext2", Offset: 1024 + magic, length: 2}
	compatible, incompatible := binary.LittleEndian.Uint32(super[0x5c:]), binary.LittleEndian.Uint32(super[0x60:])
	switch {
	case incompatible&^0x2&^0x4&^0x10 != 0: // more than file types, recovery and meta_bg
		s.Name = "ext4"
	case compatible&journal != 0:
		s.Name = "ext3"
	}
	return s, true
}

// partitioned reports whether a sector is a partition table with a partition in it.
func partitioned(b []byte) bool {
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return false
	}
	any := false
	for i := 446; i < 510; i += 16 {
		if b[i]&0x7f != 0 {
			return false // no boot flag, so no table
		}
		any = any || b[i+4] != 0 && binary.LittleEndian.Uint32(b[i+12:]) != 0
	}
	return any
}

// Wipe takes the mark away.
func (s Signature) Wipe(d block.Device) error {
	if _, err := d.WriteAt(make([]byte, s.length), s.Offset); err != nil {
		return err
	}
	return d.Flush()
}
