package history

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"morgana/xenstore/store"
)

// hash names an object.
type hash [sha1.Size]byte

func (h hash) String() string { return fmt.Sprintf("%x", h[:]) }

// kind is an object's type in a pack (gitformat-pack(5)).
type kind byte

const (
	commitKind kind = 1
	treeKind   kind = 2
	blobKind   kind = 3
)

func (k kind) String() string { return [...]string{"", "commit", "tree", "blob"}[k] }

func sum(k kind, body []byte) hash {
	s := sha1.New()
	fmt.Fprintf(s, "%s %d\x00", k, len(body))
	s.Write(body)
	var h hash
	s.Sum(h[:0])
	return h
}

// entry is an object of a pack: where it begins, and the CRC of its bytes there.
type entry struct {
	hash   hash
	offset uint32
	crc    uint32
}

// pack is a pack that is being made. No object is a delta, so objects may be copied from pack to pack as they are.
type pack struct {
	buf     bytes.Buffer
	entries []entry
	has     map[hash]bool
	since   time.Time // when the slice of time began
	z       *zlib.Writer
}

func newCompressor() *zlib.Writer { return zlib.NewWriter(io.Discard) }

const packHeader = 12

// newPack begins a pack with a compressor, which is large and used again.
func newPack(z *zlib.Writer) *pack {
	p := &pack{has: make(map[hash]bool), z: z}
	p.buf.Write(make([]byte, packHeader))
	return p
}

// slice is how long a pack is worked on before whoever serves requests, maybe on the same processor, has its turn.
const slice = 100 * time.Microsecond

func (p *pack) giveWay() {
	if time.Since(p.since) > slice {
		runtime.Gosched()
		p.since = time.Now()
	}
}

// add puts an object in unless it is there, and returns its name.
func (p *pack) add(k kind, body []byte) hash {
	h := sum(k, body)
	if p.has[h] {
		return h
	}
	p.giveWay()
	start := p.buf.Len()
	n := len(body)
	b := byte(k)<<4 | byte(n&15)
	for n >>= 4; n > 0; n >>= 7 {
		p.buf.WriteByte(b | 0x80)
		b = byte(n & 0x7f)
	}
	p.buf.WriteByte(b)
	p.z.Reset(&p.buf)
	_, _ = p.z.Write(body) // a buffer takes everything
	_ = p.z.Close()
	p.note(h, start)
	return h
}

// copy puts an object in as it is in another pack.
func (p *pack) copy(h hash, raw []byte) {
	if !p.has[h] {
		start := p.buf.Len()
		p.buf.Write(raw)
		p.note(h, start)
	}
}

func (p *pack) note(h hash, start int) {
	p.has[h] = true
	p.entries = append(p.entries, entry{h, uint32(start), crc32.ChecksumIEEE(p.buf.Bytes()[start:])})
}

// finish returns the bytes of the pack and of its index (version 2).
func (p *pack) finish() (data, index []byte, name hash) {
	be := binary.BigEndian
	data = p.buf.Bytes()
	copy(data, "PACK")
	be.PutUint32(data[4:], 2)
	be.PutUint32(data[8:], uint32(len(p.entries)))
	trailer := sha1.Sum(data)
	data = append(data, trailer[:]...)

	slices.SortFunc(p.entries, func(a, b entry) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	index = append(index, 0xff, 't', 'O', 'c', 0, 0, 0, 2)
	at := 0
	for first := range 256 {
		for at < len(p.entries) && int(p.entries[at].hash[0]) <= first {
			at++
		}
		index = be.AppendUint32(index, uint32(at))
	}
	for _, e := range p.entries {
		index = append(index, e.hash[:]...)
	}
	for _, e := range p.entries {
		index = be.AppendUint32(index, e.crc)
	}
	for _, e := range p.entries {
		index = be.AppendUint32(index, e.offset)
	}
	index = append(index, trailer[:]...)
	all := sha1.Sum(index)
	return data, append(index, all[:]...), trailer
}

// hasher makes trees of nodes. It knows those that it made.
type hasher struct {
	known map[*store.Node]hash
	kept  int // that were of the tree when it forgot last
}

// item is a line of a tree.
type item struct {
	name string
	dir  bool
	hash hash
}

func (i item) key() string {
	if i.dir {
		return i.name + "/"
	}
	return i.name
}

// tree adds a node and what is below it, as far as it is new.
func (x *hasher) tree(p *pack, n *store.Node) hash {
	if h, ok := x.known[n]; ok {
		return h
	}
	items := make([]item, 0, 2+n.NumChildren())
	var perms strings.Builder
	for _, e := range n.Perms().Entries() {
		perms.WriteString(e.String())
		perms.WriteByte('\n')
	}
	items = append(items, item{".perms", false, p.add(blobKind, []byte(perms.String()))})
	if v := n.Value(); v != "" {
		items = append(items, item{".value", false, p.add(blobKind, []byte(v))})
	}
	for _, c := range n.Children() {
		items = append(items, item{c.Name(), true, x.tree(p, c)})
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.key(), b.key()) })
	var body []byte
	for _, i := range items {
		mode := "100644 "
		if i.dir {
			mode = "40000 "
		}
		body = append(append(body, mode...), i.name...)
		body = append(append(body, 0), i.hash[:]...)
	}
	h := p.add(treeKind, body)
	x.known[n] = h
	return h
}

// forget drops what is not of the present tree, when that is most of it.
func (x *hasher) forget(root *store.Node) {
	kept := make(map[*store.Node]hash, len(x.known)/2)
	for _, n := range root.All("/") {
		if h, ok := x.known[n]; ok {
			kept[n] = h
		}
	}
	x.known, x.kept = kept, len(kept)
}

// full reports whether most of what it knows is likely of trees that are gone, which it keeps from being collected.
func (x *hasher) full() bool { return len(x.known) > 2*x.kept+4096 }
