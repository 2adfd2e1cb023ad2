package image

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"morgana/block"
	"morgana/lvm/image/spec"
)

// A Part is where a partition lies.
type Part struct {
	Name  string `json:"name"`
	Start int64  `json:"start"` // bytes
	Size  int64  `json:"size"`  // bytes
	GUID  string `json:"guid"`
}

// alignment of partitions, as every tool has it.
const alignment = 1 << 20

// layOut places partitions: each at a multiple of 1 MiB, with the rest for the one that has no size.
func layOut(s *spec.Spec, id seed) ([]Part, error) {
	// A partition table has a sector and 16 KiB at either end.
	usable := s.Disk.Size/alignment*alignment - 2*alignment
	var sum int64
	for _, p := range s.Partitions {
		if sum += up(p.Size); p.Size > usable || sum > usable {
			return nil, lineError(p.Line, "the partitions up to %s take %d MiB; a disk of %d MiB has room for %d", p.Name, sum/alignment, s.Disk.Size/alignment, max(usable, 0)/alignment)
		}
	}
	var parts []Part
	at := int64(alignment)
	for _, p := range s.Partitions {
		size := up(p.Size)
		if size == 0 {
			if size = usable - sum; size <= 0 {
				return nil, lineError(p.Line, "nothing is left for partition %s", p.Name)
			}
		}
		parts = append(parts, Part{p.Name, at, size, formatUUID(id.uuid("partition " + p.Name))})
		at += size
	}
	return parts, nil
}

func up(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

func lineError(line int, format string, a ...any) error {
	return &spec.Error{Line: line, Msg: fmt.Sprintf(format, a...)}
}

// writeTable writes the partition table.
func writeTable(d block.Device, s *spec.Spec, parts []Part, id seed) error {
	sector := int64(s.Disk.Sector)
	t := &gpt.Table{LogicalSectorSize: s.Disk.Sector, PhysicalSectorSize: s.Disk.Sector, ProtectiveMBR: true, GUID: formatUUID(id.uuid("disk"))}
	for i, p := range parts {
		kind := s.Partitions[i].Type
		if guid, ok := spec.PartitionTypes[kind]; ok {
			kind = guid
		}
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: i + 1, Start: uint64(p.Start / sector), End: uint64((p.Start+p.Size)/sector) - 1, Type: gpt.Type(kind), Name: p.Name, GUID: p.GUID,
		})
	}
	return t.Write(tableFile{d}, d.Size())
}

// tableFile is what go-diskfs writes a table to: of a file's methods it uses WriteAt.
type tableFile struct{ block.Device }

var errNotForTables = errors.New("image: a partition table is only written here")

func (tableFile) Stat() (fs.FileInfo, error)     { return nil, errNotForTables }
func (tableFile) Read([]byte) (int, error)       { return 0, errNotForTables }
func (tableFile) Seek(int64, int) (int64, error) { return 0, errNotForTables }
func (tableFile) Close() error                   { return nil }
