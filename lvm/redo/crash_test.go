package redo

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"morgana/block"
)

// cutDisk is a disk whose power may fail at any time. What was written since the last flush is then there or not, sector
// by sector, in any combination.
type cutDisk struct {
	*block.Mem            // what reads return
	stable     *block.Mem // what survives for certain
	dirty      []int64    // sectors that may survive
	sector     int
	onWrite    func() // the power may fail now
}

func newCutDisk(size int64, sector int) *cutDisk {
	return &cutDisk{Mem: block.NewMem(size, sector), stable: block.NewMem(size, sector), sector: sector}
}

func (c *cutDisk) WriteAt(p []byte, off int64) (int, error) {
	n, err := c.Mem.WriteAt(p, off)
	for s := off / int64(c.sector); s*int64(c.sector) < off+int64(len(p)); s++ {
		if !slices.Contains(c.dirty, s) {
			c.dirty = append(c.dirty, s)
		}
	}
	if c.onWrite != nil {
		c.onWrite()
	}
	return n, err
}

func (c *cutDisk) WriteZeroes(off, n int64) error {
	_, err := c.WriteAt(make([]byte, n), off)
	return err
}

func (c *cutDisk) Flush() error {
	c.stable = c.after(func(int) bool { return true })
	c.dirty = c.dirty[:0]
	return nil
}

// after returns the disk after a power cut which the dirty sectors survived that keep chooses.
func (c *cutDisk) after(keep func(i int) bool) *block.Mem {
	m := c.stable.Clone()
	b := make([]byte, c.sector)
	for i, s := range c.dirty {
		if keep(i) {
			_, _ = c.Mem.ReadAt(b, s*int64(c.sector))
			_, _ = m.WriteAt(b, s*int64(c.sector))
		}
	}
	return m
}

// states calls f with each disk that a power cut may leave, or with many of them.
func (c *cutDisk) states(rng *rand.Rand, f func(*block.Mem)) {
	if n := len(c.dirty); n <= 5 {
		for set := range 1 << n {
			f(c.after(func(i int) bool { return set>>i&1 == 1 }))
		}
		return
	}
	for range 32 {
		bits := rng.Uint64()
		f(c.after(func(i int) bool { return bits>>(i%64)&1 == 1 }))
	}
}

// text stands for the metadata text: a value that is committed as a whole.
type text struct {
	at    Position
	seqno uint64
	armed bool
	ops   []string
}

// crashModel drives a log as a volume group does, and after each write checks every state that a power cut may leave.
type crashModel struct {
	t      *testing.T
	rng    *rand.Rand
	devs   []*cutDisk
	log    *Log
	text   text
	acked  []string // the changes that were acknowledged
	doing  string   // the change that is under way
	epochs byte
	states int
}

func (m *crashModel) epoch() Epoch { m.epochs++; return Epoch{1, m.epochs} }

func (m *crashModel) open(devs ...block.Device) []string {
	l, err := Open(devs...)
	if err != nil {
		m.t.Fatalf("open: %v", err)
	}
	rs, err := l.Lineage(m.text.at, m.text.seqno, m.text.armed)
	if err != nil {
		m.t.Fatalf("lineage: %v", err)
	}
	got := slices.Clone(m.text.ops)
	for _, r := range rs {
		got = append(got, string(r.Payload))
	}
	m.log = l
	return got
}

// check tries what a power cut may leave now.
func (m *crashModel) check() {
	log := m.log
	defer func() { m.log = log }()
	try := func(devs ...block.Device) {
		m.states++
		got := m.open(devs...)
		if !slices.Equal(got, m.acked) && (m.doing == "" || !slices.Equal(got, append(slices.Clone(m.acked), m.doing))) {
			m.t.Fatalf("after a power cut: %q, want %q and perhaps %q", got, m.acked, m.doing)
		}
		// And it goes on from there.
		if err := m.log.Resume(); err != nil {
			m.t.Fatalf("resume: %v", err)
		}
		if again := m.open(devs...); !slices.Equal(again, got) {
			m.t.Fatalf("opened twice: %q, then %q", got, again)
		}
	}
	m.devs[0].states(m.rng, func(a *block.Mem) {
		if len(m.devs) == 1 {
			try(a)
			return
		}
		m.devs[1].states(m.rng, func(b *block.Mem) { try(a.Clone(), b) })
	})
}

func (m *crashModel) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *crashModel) fold(armed bool) {
	next := text{m.log.Position(), m.log.Seqno(), armed, slices.Clone(m.acked)}
	m.text = next // one write commits it; before it, the old text was checked by the last append
	m.check()
	m.log.Folded(next.at)
}

func (m *crashModel) step(i int) {
	switch op := m.rng.IntN(20); {
	case !m.text.armed: // arm
		m.must(m.log.Restart(m.epoch(), m.text.seqno+1))
		m.check()
		m.text = text{m.log.Position(), m.text.seqno + 1, true, m.text.ops}
		m.check()
	case op == 0: // disarm
		m.fold(false)
		m.text.seqno += uint64(m.rng.IntN(3)) // and another program changes the text
	case op == 1: // fold
		m.fold(true)
	case op < 4: // open anew
		var devs []block.Device
		for _, d := range m.devs {
			devs = append(devs, d)
		}
		if got := m.open(devs...); !slices.Equal(got, m.acked) {
			m.t.Fatalf("opened: %q, want %q", got, m.acked)
		}
		m.must(m.log.Resume())
	default:
		m.doing = fmt.Sprint("op ", i, " ", string(make([]byte, m.rng.IntN(1500))))
		_, err := m.log.Append([]byte(m.doing))
		if errors.Is(err, ErrFull) {
			if err = m.log.Switch(m.epoch()); errors.Is(err, ErrFull) {
				doing := m.doing
				m.doing = ""
				m.fold(true)
				m.must(m.log.Switch(m.epoch()))
				m.doing = doing
			}
			if m.rng.IntN(2) == 0 {
				m.doing = ""
				m.fold(true)
				return
			}
			_, err = m.log.Append([]byte(m.doing))
		}
		m.must(err)
		m.acked = append(m.acked, m.doing)
		m.doing = ""
		m.check()
	}
}

// TestPowerCut walks at random through appends, switches, folds, arming and disarming. At every write it tries what a
// power cut may leave of the sectors in flight: all that was acknowledged is there, in order, and nothing else but,
// perhaps, the change that was under way.
func TestPowerCut(t *testing.T) {
	steps := 400
	if testing.Short() {
		steps = 80
	}
	for _, c := range []struct{ sector, replicas int }{{512, 1}, {4096, 1}, {512, 2}} {
		t.Run(fmt.Sprintf("sector %d, replicas %d", c.sector, c.replicas), func(t *testing.T) {
			m := &crashModel{t: t, rng: rand.New(rand.NewPCG(1, uint64(c.sector)))}
			var devs []block.Device
			for range c.replicas {
				d := newCutDisk(minSize+4*headerStride, c.sector)
				m.devs = append(m.devs, d)
				devs = append(devs, d)
			}
			l, err := Format(group, m.epoch(), 0, devs...)
			m.must(err)
			m.log, m.text = l, text{at: l.Position()}
			for _, d := range m.devs {
				d.onWrite = m.check
			}
			for i := range steps {
				m.step(i)
			}
			t.Logf("%d states after power cuts, 0 lost of %d changes", m.states, len(m.acked))
		})
	}
}
