package xenconsoled

import (
	"sync/atomic"

	"morgana/xen/ring"
)

// Mark is how far a sink got, in memory that outlives the process: the number of the first byte that is not in the log,
// and a note of a write that is under way. The process may end between any two stores: the next one finds either no
// note, or one with which it can see whether the write was done. For one goroutine at a time.
type Mark struct {
	pos, next       *atomic.Uint64
	state, after    *atomic.Uint32
	from, size, ino *atomic.Uint64
	pending         *atomic.Uint32
	lost            *atomic.Uint64
}

// Note is a write that is under way.
type Note struct {
	Next  uint64 // the mark's position after it
	State uint32 // the mark's state after it
	From  uint64 // where in the file it begins
	Size  uint64 // how many bytes of the file it makes
	File  uint64 // which file: an inode's number
}

func newMark(mem []byte) (*Mark, error) {
	m := &Mark{}
	for off, w := range map[int]**atomic.Uint64{0: &m.pos, 8: &m.next, 16: &m.from, 24: &m.size, 32: &m.ino, 56: &m.lost} {
		var err error
		if *w, err = ring.Word64(mem, off); err != nil {
			return nil, err
		}
	}
	for off, w := range map[int]**atomic.Uint32{40: &m.state, 44: &m.after, 48: &m.pending} {
		var err error
		if *w, err = ring.Word(mem, off); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// NewMark makes a mark of its own, for a sink that writes something else than a console's stream. mem is 64 bytes,
// aligned to 8; what is in it is gone on with.
func NewMark(mem []byte) (*Mark, error) { return newMark(mem) }

// Position is the number of the first byte that is not in the log.
func (m *Mark) Position() uint64 { return m.pos.Load() }

// State is what the sink keeps from one write to the next.
func (m *Mark) State() uint32 { return m.state.Load() }

// Begin notes a write that begins now.
func (m *Mark) Begin(n Note) {
	m.next.Store(n.Next)
	m.after.Store(n.State)
	m.from.Store(n.From)
	m.size.Store(n.Size)
	m.ino.Store(n.File)
	m.pending.Store(1)
}

// Pending is the write that was under way, if there is one.
func (m *Mark) Pending() (Note, bool) {
	n := Note{Next: m.next.Load(), State: m.after.Load(), From: m.from.Load(), Size: m.size.Load(), File: m.ino.Load()}
	return n, m.pending.Load() == 1
}

// Commit says that the write that Begin noted was done.
func (m *Mark) Commit() {
	m.pos.Store(m.next.Load())
	m.state.Store(m.after.Load())
	m.pending.Store(0)
}

// Abandon says that the write that Begin noted was not done, and left nothing.
func (m *Mark) Abandon() { m.pending.Store(0) }

// Set moves the mark without a write.
func (m *Mark) Set(pos uint64, state uint32) {
	m.state.Store(state)
	m.pos.Store(pos)
}

// Lost is how many bytes the log could not take since it last said so; AddLost adds to it, or takes away.
func (m *Mark) Lost() uint64     { return m.lost.Load() }
func (m *Mark) AddLost(n uint64) { m.lost.Add(n) }
