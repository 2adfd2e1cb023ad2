package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"morgana/unikernel"
	"morgana/xen"
)

// What survives: an arena of the page that is shared with dom0, a head, a journal and a region that never changes.
const (
	offHead    = xen.PageSize
	offJournal = 2 * xen.PageSize
	records    = 512
	slotSize   = 64 // u64 counter, 24 bytes, SHA-256 of both
	offStill   = offJournal + records*2*slotSize
	stillSize  = 256 << 10
	arenaSize  = offStill + stillSize
)

// memory is the arena. A record of the journal has two slots, written in turn: whenever the program dies, one of them
// is whole.
type memory []byte

// head is the part of the arena that is one structure. It is only written between restarts.
type head struct {
	ref         xen.GrantRef
	port        xen.Port
	generation  uint64
	restartedAt int64  // monotonic ns, when the last restart began
	worst       int64  // ns, the longest restart
	freeAt      uint64 // free pages at the start of generation steady
	grantsAt    uint64 // grants at that time
	vmasAt      uint64
}

func openMemory() (memory, error) {
	m, err := unikernel.Arena("soak", arenaSize)
	return memory(m), err
}

func (m memory) word(i int) []byte { return m[offHead+i*8:][:8] }

func (m memory) head() (h head) {
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(m.word(i)) }
	return head{
		ref: xen.GrantRef(u(0)), port: xen.Port(u(1)), generation: u(2), restartedAt: int64(u(3)), worst: int64(u(4)),
		freeAt: u(5), grantsAt: u(6), vmasAt: u(7),
	}
}

func (m memory) setHead(h head) {
	for i, v := range []uint64{uint64(h.ref), uint64(h.port), h.generation, uint64(h.restartedAt), uint64(h.worst), h.freeAt, h.grantsAt, h.vmasAt} {
		binary.LittleEndian.PutUint64(m.word(i), v)
	}
}

// stillSum is where the checksum of the region that never changes stands.
func (m memory) stillSum() []byte { return m[offHead+512:][:sha256.Size] }

// fill is for the first generation.
func (m memory) fill() {
	_, _ = rand.Read(m[offStill:])
	sum := sha256.Sum256(m[offStill:])
	copy(m.stillSum(), sum[:])
	for r := range records {
		m.write(r, 1)
	}
}

func (m memory) slot(record int, counter uint64) []byte {
	return m[offJournal+(record*2+int(counter%2))*slotSize:][:slotSize]
}

// write is one step of the journal.
func (m memory) write(record int, counter uint64) {
	s := m.slot(record, counter)
	binary.LittleEndian.PutUint64(s, counter)
	_, _ = rand.Read(s[8:32])
	sum := sha256.Sum256(s[:32])
	copy(s[32:], sum[:])
}

// read returns the newest whole counter of a record, 0 if both slots are torn.
func (m memory) read(record int) uint64 {
	best := uint64(0)
	for i := range uint64(2) {
		s := m.slot(record, i)
		c := binary.LittleEndian.Uint64(s)
		if sum := sha256.Sum256(s[:32]); c%2 == i && c > best && [sha256.Size]byte(s[32:]) == sum {
			best = c
		}
	}
	return best
}

// check is nil if the arena is as it was left.
func (m memory) check() error {
	if sum := sha256.Sum256(m[offStill:]); [sha256.Size]byte(m.stillSum()) != sum {
		return errors.New("the arena changed: the checksum of its still part is wrong")
	}
	for r := range records {
		if m.read(r) == 0 {
			return fmt.Errorf("the arena changed: both slots of record %d are torn", r)
		}
	}
	return nil
}
