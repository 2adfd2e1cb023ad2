package powercut

import (
	"fmt"
	"iter"
	"math/rand"
	"slices"

	"morgana/block"
)

// Options says how much is tried. The zero value tries all subsets of up to 10 writes, 200 random ones of more, and
// tears a write in two ways for each.
type Options struct {
	Exhaustive int   // all subsets of up to so many writes, 0 for 10
	Random     int   // so many random subsets of more, 0 for 200
	Torn       int   // torn variants for each subset, 0 for 2, negative for none
	Seed       int64 // of what is random
}

// State is what disks hold after a power cut.
type State struct {
	Disks []*block.Mem
	// Cut says when the power went, and what of the writes under way is there.
	Cut string
}

// moment is a point of the recording: what is stable, and what is under way.
type moment struct {
	event   int
	pending []int // indices of writes
}

// moments are those just before a flush, and the end. Between them writes only come to be under way; what can be there
// earlier can be there at the next moment too.
func (r *Recorder) momentsLocked() []moment {
	var out []moment
	var pending []int
	fresh := true
	note := func(i int) {
		if fresh {
			out = append(out, moment{i, slices.Clone(pending)})
		}
		fresh = false
	}
	for i, e := range r.events {
		if e.data != nil {
			pending = append(pending, i)
			fresh = true
			continue
		}
		note(i)
		pending = slices.DeleteFunc(pending, func(j int) bool { return r.events[j].disk == e.disk })
	}
	note(len(r.events))
	return append(out, moment{len(r.events), nil}) // when all of it is there
}

// States yields what the disks may hold if the power goes at some moment since Start. The disks of a State are its
// receiver's to change.
func (r *Recorder) States(o Options) iter.Seq[State] {
	if o.Exhaustive == 0 {
		o.Exhaustive = 10
	}
	if o.Random == 0 {
		o.Random = 200
	}
	if o.Torn == 0 {
		o.Torn = 2
	}
	return func(yield func(State) bool) {
		r.mu.Lock()
		events, moments := slices.Clone(r.events), r.momentsLocked()
		stable := make([]*block.Mem, len(r.start))
		for i, d := range r.start {
			stable[i] = d.Clone()
		}
		r.mu.Unlock()
		t := tries{events: events, stable: stable, o: o, rnd: rand.New(rand.NewSource(o.Seed)), yield: yield}
		for _, m := range moments {
			if !t.at(m) {
				return
			}
		}
	}
}

type tries struct {
	events  []event
	stable  []*block.Mem // with everything that is stable
	applied int          // events that stable has or will never have
	o       Options
	rnd     *rand.Rand
	yield   func(State) bool
}

// at tries one moment.
func (t *tries) at(m moment) bool {
	for ; t.applied < m.event; t.applied++ {
		e := t.events[t.applied]
		if e.data == nil {
			t.settle(t.applied)
		}
	}
	if m.pending == nil && m.event == len(t.events) {
		for i := range t.stable {
			t.settleDisk(i, len(t.events))
		}
		return t.try(m, nil, -1)
	}
	n := len(m.pending)
	if n <= t.o.Exhaustive {
		for set := range 1 << n {
			var chosen []int
			for i, w := range m.pending {
				if set>>i&1 == 1 {
					chosen = append(chosen, w)
				}
			}
			if !t.variants(m, chosen) {
				return false
			}
		}
		return true
	}
	for i := range t.o.Random {
		var chosen []int
		keep := t.rnd.Float64()
		switch i {
		case 0:
			keep = 0
		case 1:
			keep = 1
		}
		for _, w := range m.pending {
			if t.rnd.Float64() < keep {
				chosen = append(chosen, w)
			}
		}
		if !t.variants(m, chosen) {
			return false
		}
	}
	return true
}

// settle makes stable what was written to a disk before its flush at event i.
func (t *tries) settle(i int) { t.settleDisk(t.events[i].disk, i) }

func (t *tries) settleDisk(disk, until int) {
	for j, e := range t.events[:until] {
		if e.disk == disk && e.data != nil {
			write(t.stable[disk], e.off, e.data)
			t.events[j].data, t.events[j].disk = nil, -1 // done
		}
	}
}

// variants tries a subset of the writes under way: whole, and with one of them torn.
func (t *tries) variants(m moment, chosen []int) bool {
	if !t.try(m, chosen, -1) {
		return false
	}
	for range max(0, t.o.Torn) {
		if len(chosen) == 0 {
			break
		}
		torn := t.rnd.Intn(len(chosen))
		e := t.events[chosen[torn]]
		if len(e.data) <= t.stable[e.disk].SectorSize() {
			continue // a sector does not tear
		}
		if !t.try(m, chosen, torn) {
			return false
		}
	}
	return true
}

func (t *tries) try(m moment, chosen []int, torn int) bool {
	s := State{Cut: fmt.Sprintf("before event %d of %d, %d of %d writes under way are there", m.event, len(t.events), len(chosen), len(m.pending))}
	for _, d := range t.stable {
		s.Disks = append(s.Disks, d.Clone())
	}
	for i, w := range chosen {
		e := t.events[w]
		d := s.Disks[e.disk]
		if i != torn {
			write(d, e.off, e.data)
			continue
		}
		s.Cut += fmt.Sprintf(", that of %d bytes at byte %d of disk %d torn", len(e.data), e.off, e.disk)
		sector := d.SectorSize()
		for at := 0; at < len(e.data); at += sector {
			if t.rnd.Intn(2) == 0 {
				write(d, e.off+int64(at), e.data[at:min(at+sector, len(e.data))])
			}
		}
	}
	return t.yield(s)
}

func write(d *block.Mem, off int64, b []byte) {
	if _, err := d.WriteAt(b, off); err != nil {
		panic(err) // it was written there before
	}
}
