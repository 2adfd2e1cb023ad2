package blkif

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"morgana/xen"
)

// Nodes reads a node of a peer's directory by its name below it ("sectors", "queue-0/ring-ref1"). ok is false if the
// node does not exist.
type Nodes func(name string) (value string, ok bool)

// ErrNode tells a node whose value is missing, no number or out of range.
var ErrNode = errors.New("bad xenstore node")

// number reads a node that holds a decimal number; absent is the value of one that does not exist.
func (n Nodes) number(name string, absent, least, most uint64) (uint64, error) {
	s, ok := n(name)
	if !ok {
		return absent, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || v < least || v > most {
		return 0, fmt.Errorf("%w %s: %.40q is no number from %d to %d", ErrNode, name, s, least, most)
	}
	return v, nil
}

// reader reads nodes one after the other and keeps the first error.
type reader struct {
	n   Nodes
	err error
}

func (r *reader) number(name string, absent, least, most uint64) uint64 {
	v, err := r.n.number(name, absent, least, most)
	if r.err == nil {
		r.err = err
	}
	return v
}

// must reads a number that has to be there.
func (r *reader) must(name string, least, most uint64) uint64 {
	if _, ok := r.n(name); !ok && r.err == nil {
		r.err = fmt.Errorf("%w %s: it does not exist", ErrNode, name)
	}
	return r.number(name, 0, least, most)
}

func (r *reader) flag(name string) bool { return r.number(name, 0, 0, 1<<32-1) != 0 }

// Features are what a backend offers. Linux's backend writes the sizes of rings, queues and indirect requests with
// state 2 and the rest with state 4, so a frontend that wants all reads them twice; ours writes all with state 2.
type Features struct {
	MaxRingOrder int    // max-ring-page-order: rings of up to 1<<MaxRingOrder pages
	MaxQueues    int    // multi-queue-max-queues; 0 and 1 mean one
	MaxIndirect  int    // feature-max-indirect-segments; 0: no indirect requests
	Persistent   bool   // feature-persistent
	Flush        bool   // feature-flush-cache
	Barrier      bool   // feature-barrier
	Discard      bool   // feature-discard
	Secure       bool   // discard-secure
	Granularity  uint32 // discard-granularity in bytes; 0: the sector size
	Alignment    uint32 // discard-alignment in bytes
}

// Most that a peer's nodes may say.
const (
	mostOrder  = 10
	mostQueues = 1024
)

// Map is the nodes by which a backend offers f. What is not offered has no node, because a backend in a domain of its
// own has few.
func (f *Features) Map() map[string]string {
	m := make(map[string]string)
	number := func(name string, v uint64) {
		if v > 0 {
			m[name] = strconv.FormatUint(v, 10)
		}
	}
	flag := func(name string, v bool) {
		if v {
			m[name] = "1"
		}
	}
	number("max-ring-page-order", uint64(f.MaxRingOrder))
	number("multi-queue-max-queues", uint64(f.MaxQueues))
	number("feature-max-indirect-segments", uint64(f.MaxIndirect))
	flag("feature-persistent", f.Persistent)
	flag("feature-flush-cache", f.Flush)
	flag("feature-barrier", f.Barrier)
	flag("feature-discard", f.Discard)
	if f.Discard {
		// Both or none, says blkif.h's note 4.
		m["discard-granularity"] = strconv.FormatUint(uint64(max(f.Granularity, SectorSize)), 10)
		m["discard-alignment"] = strconv.FormatUint(uint64(f.Alignment), 10)
		flag("discard-secure", f.Secure)
	}
	return m
}

// ParseFeatures reads a backend's offer as a frontend. What is missing is not offered; what is out of range is an error
// that matches ErrNode. An offer larger than the protocol knows is cut to that.
func ParseFeatures(n Nodes) (Features, error) {
	r := reader{n: n}
	most := uint64(1<<32 - 1)
	order := r.number("max-ring-page-order", 0, 0, most)
	if pages := r.number("max-ring-pages", 1, 1, most); pages > 1 {
		order = max(order, uint64(bits.Len64(pages)-1))
	}
	f := Features{
		MaxRingOrder: int(min(order, mostOrder)),
		MaxQueues:    int(min(r.number("multi-queue-max-queues", 1, 0, most), mostQueues)),
		MaxIndirect:  int(min(r.number("feature-max-indirect-segments", 0, 0, most), MaxIndirectPages*SegmentsPerPage)),
		Persistent:   r.flag("feature-persistent"),
		Flush:        r.flag("feature-flush-cache"),
		Barrier:      r.flag("feature-barrier"),
		Discard:      r.flag("feature-discard"),
		Secure:       r.flag("discard-secure"),
		Granularity:  uint32(r.number("discard-granularity", 0, 0, most)),
		Alignment:    uint32(r.number("discard-alignment", 0, 0, most)),
	}
	if r.err != nil {
		return Features{}, r.err
	}
	return f, nil
}

// Bits of Disk.Info (VDISK_*).
const (
	InfoCDROM     = 1
	InfoRemovable = 2
	InfoReadOnly  = 4
)

// Disk is what a backend tells of a disk when it connects (state 4), and again when it grew.
type Disk struct {
	Sectors            uint64 // of 512 bytes, whatever SectorSize
	SectorSize         int    // 512 to 65536 bytes, a power of two
	PhysicalSectorSize int    // a multiple of SectorSize; 0: the same
	Info               uint32 // Info bits
}

// mostSectors keeps a disk's size in bytes within an int64.
const mostSectors = 1<<63/SectorSize - 1

// Map is the nodes by which a backend tells of d.
func (d *Disk) Map() map[string]string {
	m := map[string]string{
		"sectors":     strconv.FormatUint(d.Sectors, 10),
		"sector-size": strconv.Itoa(d.SectorSize),
		"info":        strconv.FormatUint(uint64(d.Info), 10),
	}
	if d.PhysicalSectorSize > d.SectorSize {
		m["physical-sector-size"] = strconv.Itoa(d.PhysicalSectorSize)
	}
	return m
}

// ParseDisk reads what a backend tells of a disk. What is out of range is an error that matches ErrNode.
func ParseDisk(n Nodes) (Disk, error) {
	r := reader{n: n}
	d := Disk{
		Sectors:    r.must("sectors", 0, mostSectors),
		SectorSize: int(r.number("sector-size", SectorSize, SectorSize, 65536)),
		Info:       uint32(r.number("info", 0, 0, 1<<32-1)),
	}
	d.PhysicalSectorSize = int(r.number("physical-sector-size", uint64(d.SectorSize), 1, 1<<30))
	switch {
	case r.err != nil:
	case d.SectorSize&(d.SectorSize-1) != 0:
		r.err = fmt.Errorf("%w sector-size: %d is no power of two", ErrNode, d.SectorSize)
	case d.Sectors%(uint64(d.SectorSize)/SectorSize) != 0:
		r.err = fmt.Errorf("%w sectors: %d times 512 is no multiple of sector-size %d", ErrNode, d.Sectors, d.SectorSize)
	}
	if r.err != nil {
		return Disk{}, r.err
	}
	if d.PhysicalSectorSize%d.SectorSize != 0 {
		d.PhysicalSectorSize = d.SectorSize
	}
	return d, nil
}

// Queue is a ring and its event channel.
type Queue struct {
	Refs []xen.GrantRef // 1<<order pages, the same number in all queues
	Port xen.Port       // of the frontend
}

// Connection is what a frontend asks for and gives when it connects (state 3).
type Connection struct {
	ABI        ABI
	Persistent bool // feature-persistent
	Queues     []Queue
}

func refName(i int) string   { return "ring-ref" + strconv.Itoa(i) }
func queueName(i int) string { return "queue-" + strconv.Itoa(i) + "/" }

// Map is the nodes by which a frontend connects. It needs a queue at least, and a page in each. A frontend that
// connects again with fewer pages or queues has nodes left of the time before; ParseConnection does not look at them.
func (c *Connection) Map() map[string]string {
	m := map[string]string{"protocol": c.ABI.String(), "feature-persistent": "0"}
	if c.Persistent {
		m["feature-persistent"] = "1"
	}
	pages := len(c.Queues[0].Refs)
	m["ring-page-order"] = strconv.Itoa(bits.Len(uint(pages)) - 1)
	m["multi-queue-num-queues"] = strconv.Itoa(len(c.Queues))
	for i, q := range c.Queues {
		prefix := ""
		if len(c.Queues) > 1 {
			prefix = queueName(i)
		}
		m[prefix+"event-channel"] = strconv.FormatUint(uint64(q.Port), 10)
		for j, ref := range q.Refs {
			m[prefix+refName(j)] = strconv.FormatUint(uint64(ref), 10)
		}
		if pages == 1 {
			m[prefix+"ring-ref"] = m[prefix+refName(0)]
		}
	}
	return m
}

// ParseConnection reads a frontend's nodes as a backend that offered f. Anything beyond the offer, or missing, is an
// error that matches ErrNode or ErrProtocol.
func ParseConnection(n Nodes, f *Features) (Connection, error) {
	protocol, _ := n("protocol")
	abi, err := ParseProtocol(protocol)
	if err != nil {
		return Connection{}, err
	}
	r := reader{n: n}
	c := Connection{ABI: abi, Persistent: f.Persistent && r.flag("feature-persistent")}
	order, err := ringOrder(n, f.MaxRingOrder)
	if err != nil {
		return Connection{}, err
	}
	queues := r.number("multi-queue-num-queues", 1, 1, uint64(max(f.MaxQueues, 1)))
	if r.err != nil {
		return Connection{}, r.err
	}
	c.Queues = make([]Queue, queues)
	for i := range c.Queues {
		prefix := ""
		if queues > 1 {
			prefix = queueName(i)
		}
		q := &c.Queues[i]
		q.Port = xen.Port(r.must(prefix+"event-channel", 1, 1<<32-1))
		q.Refs = make([]xen.GrantRef, 1<<order)
		for j := range q.Refs {
			name := prefix + refName(j)
			if order == 0 {
				name = singleRef(n, prefix)
			}
			q.Refs[j] = xen.GrantRef(r.must(name, 1, 1<<32-1))
		}
		if r.err != nil {
			return Connection{}, r.err
		}
	}
	return c, nil
}

// ringOrder is the order of a frontend's rings, which it may tell in two ways.
func ringOrder(n Nodes, most int) (int, error) {
	if _, ok := n("ring-page-order"); ok {
		v, err := n.number("ring-page-order", 0, 0, uint64(most))
		return int(v), err
	}
	pages, err := n.number("num-ring-pages", 1, 1, 1<<most)
	if err == nil && pages&(pages-1) != 0 {
		err = fmt.Errorf("%w num-ring-pages: %d is no power of two", ErrNode, pages)
	}
	return bits.Len64(pages) - 1, err
}

// singleRef names the node of a ring of one page: ring-ref, but ring-ref0 by those who tell the order in any case, as
// Linux's backend reads it.
func singleRef(n Nodes, prefix string) string {
	const single = "ring-ref"
	first, second := prefix+single, prefix+refName(0)
	if _, ok := n("ring-page-order"); ok {
		first, second = second, first
	}
	if _, ok := n(first); !ok {
		if _, ok := n(second); ok {
			return second
		}
		return prefix + single
	}
	return first
}
