package fat

import (
	"encoding/binary"
	"fmt"

	"morgana/block"
)

// A layout is what the boot sector tells.
type layout struct {
	bits         int   // 12, 16 or 32
	sector       int64 // bytes
	cluster      int64 // bytes
	reserved     int64 // sectors before the first FAT
	fatSectors   int64
	rootSectors  int64 // of the root directory where it is no file
	totalSectors int64
	clusters     int64
}

const rootEntries = 512 // of FAT12 and FAT16

// Limits of the number of clusters: it is what decides the kind. Near them readers disagree, so they are kept away from.
const (
	maxClusters12 = 4084 - 16
	minClusters16 = 4085 + 16
	maxClusters16 = 65524 - 16
	minClusters32 = 65525 + 16
	maxClusters32 = 0x0ffffff5 - 16
)

// newLayout chooses the largest kind that suits the size.
func newLayout(size int64, sector int) (*layout, error) {
	const mib = 1 << 20
	big := int64(512)
	for _, c := range []struct{ over, cluster int64 }{{260 * mib, 4 << 10}, {8 << 30, 8 << 10}, {16 << 30, 16 << 10}, {32 << 30, 32 << 10}} {
		if size > c.over {
			big = c.cluster
		}
	}
	for _, c := range []struct {
		bits     int
		cluster  int64
		min, max int64
	}{
		{32, big, minClusters32, maxClusters32},
		{16, 2048, minClusters16, maxClusters16},
		{16, 8192, minClusters16, maxClusters16},
		{12, 4096, 1, maxClusters12},
	} {
		l := &layout{bits: c.bits, sector: int64(sector), cluster: max(c.cluster, int64(sector))}
		l.totalSectors = size / l.sector
		if l.totalSectors >= 1<<32 {
			continue
		}
		l.reserved = 1
		if c.bits == 32 {
			l.reserved = 32
		} else {
			l.rootSectors = (rootEntries*entrySize + l.sector - 1) / l.sector
		}
		perCluster := l.cluster / l.sector
		data := l.totalSectors - l.reserved - l.rootSectors
		// Each cluster wants perCluster sectors and bits/8 bytes in each of the two FATs.
		l.fatSectors = (data*int64(c.bits)/8*2/(perCluster*l.sector*2)+int64(c.bits)/8*2)/l.sector + 1
		for l.fatSectors > 1 && l.fatRoom(l.fatSectors-1) >= (data-2*(l.fatSectors-1))/perCluster+2 {
			l.fatSectors--
		}
		for l.fatRoom(l.fatSectors) < (data-2*l.fatSectors)/perCluster+2 {
			l.fatSectors++
		}
		l.clusters = (data - 2*l.fatSectors) / perCluster
		if l.clusters >= c.min && l.clusters <= c.max {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%w: %d bytes with sectors of %d", ErrSize, size, sector)
}

// fatRoom is how many entries so many sectors of FAT have.
func (l *layout) fatRoom(sectors int64) int64 { return sectors * l.sector * 8 / int64(l.bits) }

func (l *layout) dataStart() int64 {
	return (l.reserved + 2*l.fatSectors + l.rootSectors) * l.sector
}

// offset is where a cluster is on the device. The first is number 2.
func (l *layout) offset(cluster uint32) int64 { return l.dataStart() + int64(cluster-2)*l.cluster }

// boot is the boot sector.
func (l *layout) boot(o Options) []byte {
	b := make([]byte, l.sector)
	le := binary.LittleEndian
	copy(b, "\xeb\x58\x90MORGANA ")
	le.PutUint16(b[11:], uint16(l.sector))
	b[13] = byte(l.cluster / l.sector)
	le.PutUint16(b[14:], uint16(l.reserved))
	b[16] = 2 // FATs
	if l.bits != 32 {
		le.PutUint16(b[17:], rootEntries)
	}
	if l.bits != 32 && l.totalSectors < 1<<16 {
		le.PutUint16(b[19:], uint16(l.totalSectors))
	} else {
		le.PutUint32(b[32:], uint32(l.totalSectors))
	}
	b[21] = 0xf8
	le.PutUint16(b[24:], 32) // geometry, which nothing reads
	le.PutUint16(b[26:], 64)
	le.PutUint32(b[28:], o.Hidden)
	tail := 36
	if l.bits == 32 {
		le.PutUint32(b[36:], uint32(l.fatSectors))
		le.PutUint32(b[44:], rootCluster)
		le.PutUint16(b[48:], 1) // sector of the free space's count
		le.PutUint16(b[50:], 6) // of the copy of these
		tail = 64
	} else {
		le.PutUint16(b[22:], uint16(l.fatSectors))
	}
	b[tail] = 0x80
	b[tail+2] = 0x29
	le.PutUint32(b[tail+3:], o.Serial)
	copy(b[tail+7:], o.label())
	copy(b[tail+18:], fmt.Sprintf("FAT%-5d", l.bits))
	copy(b[tail+26:], "\xf4\xeb\xfd") // code for whoever boots this: halt
	b[510], b[511] = 0x55, 0xaa
	return b
}

// info is FAT32's sector with the count of free clusters and where to look for one.
func (l *layout) info(used uint32) []byte {
	b := make([]byte, l.sector)
	le := binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(l.clusters)-used)
	le.PutUint32(b[492:], used+2)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// A table is a FAT in the making.
type table struct {
	l *layout
	b []byte
}

func newTable(l *layout) *table {
	t := &table{l, make([]byte, l.fatSectors*l.sector)}
	t.set(0, 0x0ffffff8)
	t.set(1, end)
	return t
}

// end marks a file's last cluster.
const end = 0x0fffffff

func (t *table) set(cluster, v uint32) {
	le := binary.LittleEndian
	switch t.l.bits {
	case 32:
		le.PutUint32(t.b[4*cluster:], v)
	case 16:
		le.PutUint16(t.b[2*cluster:], uint16(v))
	case 12:
		at := cluster * 3 / 2
		w := le.Uint16(t.b[at:])
		if cluster%2 == 0 {
			w = w&0xf000 | uint16(v)&0xfff
		} else {
			w = w&0xf | uint16(v)<<4
		}
		le.PutUint16(t.b[at:], w)
	}
}

// chain makes one file of n clusters in a row.
func (t *table) chain(first, n uint32) {
	for i := range n {
		next := first + i + 1
		if i == n-1 {
			next = end
		}
		t.set(first+i, next)
	}
}

func (l *layout) write(d block.Device, o Options, t *table, used uint32) error {
	boot := l.boot(o)
	put := func(b []byte, sector int64) error {
		_, err := d.WriteAt(b, sector*l.sector)
		return err
	}
	for i := range int64(2) {
		if err := put(t.b, l.reserved+i*l.fatSectors); err != nil {
			return err
		}
	}
	if l.bits == 32 {
		for _, at := range []int64{1, 7} {
			if err := put(l.info(used), at); err != nil {
				return err
			}
		}
		if err := put(boot, 6); err != nil {
			return err
		}
	}
	return put(boot, 0)
}
