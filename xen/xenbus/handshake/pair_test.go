package handshake

import (
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pair is both halves of a device over the states that they share. A step is decided on one look and carried out later,
// if what was looked at is still so, as a transaction sees to it.
type pair struct {
	now               time.Duration
	back              Back
	front             Front
	backState, fState State
	exists, online    bool
	wrote             bool
	rings             int // generation of the rings that the frontend's nodes name
	made, mapped      int // generation that the frontend has, and that the backend is connected to; 0 is none
	log               []string
}

func (p *pair) backView() BackView {
	v := BackView{Exists: p.exists, Online: p.online, Own: p.backState, Peer: p.fState}
	if !p.exists {
		v.Peer = Closed
	}
	return v
}

func (p *pair) frontView() FrontView {
	v := FrontView{Exists: p.exists, Online: p.online, Own: p.fState, Peer: p.backState, Wrote: p.wrote}
	if !p.exists {
		v.Peer = Closed
	}
	return v
}

func (p *pair) note(who string, s Step, at time.Duration) {
	p.log = append(p.log, fmt.Sprintf("%v %s %v (back %d, front %d; wakes %v)", p.now, who, s, p.backState, p.fState, at))
}

// stepBack lets the backend do one thing; interfere runs between its look and its deed. It reports whether it waits, and
// until when.
func (p *pair) stepBack(t *testing.T, interfere func()) (waits bool, at time.Duration) {
	v := p.backView()
	s, at := p.back.Next(p.now, v)
	p.note("back", s, at)
	if s == Wait {
		return true, at
	}
	if interfere(); p.backView() != v {
		return false, 0
	}
	switch s {
	case Connect:
		if p.back.Connected() {
			t.Fatal("connects twice")
		}
		p.mapped = p.rings
	case Disconnect:
		if !p.back.Connected() {
			t.Fatal("disconnects what is not connected")
		}
		p.mapped = 0
	case Remove:
		p.exists = false
	case Forget:
		if p.back.Connected() {
			t.Fatal("forgets a connection")
		}
		p.back = Back{Removes: p.back.Removes}
		return true, 0
	}
	if st := s.Writes(); st != Unknown {
		p.backState, p.wrote = st, true
	}
	p.back.Done(p.now, s, v.Own)
	return false, 0
}

func (p *pair) stepFront(t *testing.T, interfere func()) (waits bool, at time.Duration) {
	v := p.frontView()
	s, at := p.front.Next(p.now, v)
	p.note("front", s, at)
	if s == Wait {
		return true, at
	}
	if interfere(); p.frontView() != v {
		return false, 0
	}
	switch s {
	case Prepare:
		if p.made != 0 {
			t.Fatal("prepares twice")
		}
		p.rings++
		p.made = p.rings
	case Connect, Look:
		if p.made == 0 {
			t.Fatal(s, "without rings")
		}
		p.wrote = false
	case Disconnect:
		if p.made == 0 {
			t.Fatal("disconnects without rings")
		}
		p.made = 0
	case Forget:
		p.front = Front{}
		return true, 0
	}
	if st := s.Writes(); st != Unknown {
		p.fState = st
	}
	p.front.Done(p.now, s)
	return false, 0
}

// settle lets both go on, and time with them, until both wait for good.
func (p *pair) settle(t *testing.T, rnd *rand.Rand) {
	for range 1000 {
		var bw, fw bool
		var ba, fa time.Duration
		if rnd.Intn(2) == 0 {
			bw, ba = p.stepBack(t, func() {})
			fw, fa = p.stepFront(t, func() {})
		} else {
			fw, fa = p.stepFront(t, func() {})
			bw, ba = p.stepBack(t, func() {})
		}
		if !bw || !fw {
			continue
		}
		if ba == 0 && fa == 0 {
			// One may have waited before the other's last write.
			if bw, _ = p.stepBack(t, func() {}); bw {
				if fw, _ = p.stepFront(t, func() {}); fw {
					return
				}
			}
			continue
		}
		if fa == 0 || ba != 0 && ba < fa {
			fa = ba
		}
		p.now = max(p.now, fa)
	}
	t.Fatalf("they do not come to rest:\n%s", strings.Join(p.log[max(0, len(p.log)-30):], "\n"))
}

func seed(t *testing.T) int64 {
	s, err := strconv.ParseInt(os.Getenv("SEED"), 10, 64)
	if err != nil {
		s = 1
	}
	t.Logf("SEED=%d repeats this", s)
	return s
}

// From whatever states, through kills, failures and detaching at any moment: both halves find to each other if the
// device is to stay, connected by rings that both have; and it is gone if not.
func TestHalvesFindToEachOther(t *testing.T) {
	rnd := rand.New(rand.NewSource(seed(t)))
	rounds := 5000
	if testing.Short() {
		rounds = 1000
	}
	for range rounds {
		p := &pair{exists: true, online: true, backState: State(rnd.Intn(7)), fState: State(rnd.Intn(7))}
		p.back.Removes = true
		if rnd.Intn(2) == 0 {
			p.backState, p.fState = Initialising, Initialising
		}
		trouble := func() {
			switch rnd.Intn(12) {
			case 0:
				p.back = Back{Removes: true}
				p.mapped = 0
				p.log = append(p.log, "back is killed")
			case 1:
				p.front = Front{}
				p.made = 0
				p.log = append(p.log, "front is killed")
			case 2:
				if p.back.Connected() {
					p.back.Broke()
					p.log = append(p.log, "back finds the front's breach")
				}
			case 3:
				if p.front.Connected() {
					p.front.Broke()
					p.log = append(p.log, "front finds the back's breach")
				}
			case 4:
				p.now += time.Duration(rnd.Intn(1000)) * time.Millisecond
			}
		}
		quiet := func() {}
		for range rnd.Intn(60) {
			between := rnd.Intn(3) == 0
			if rnd.Intn(2) == 0 {
				p.stepBack(t, func() {
					if between {
						p.stepFront(t, quiet)
					}
				})
			} else {
				p.stepFront(t, func() {
					if between {
						p.stepBack(t, quiet)
					}
				})
			}
			trouble()
		}
		p.settle(t, rnd)
		ok := p.back.Connected() && p.front.Connected() && p.backState == Connected && p.fState == Connected && p.made == p.mapped
		if !ok {
			t.Fatalf("at rest with back %d, front %d, rings %d made, %d mapped:\n%s", p.backState, p.fState, p.made, p.mapped,
				strings.Join(p.log[max(0, len(p.log)-60):], "\n"))
		}

		p.online = false
		if p.backState != Closed {
			p.backState = Closing
		}
		p.settle(t, rnd)
		if p.exists || p.made != 0 || p.mapped != 0 {
			t.Fatalf("detached, it is still there:\n%s", strings.Join(p.log[max(0, len(p.log)-60):], "\n"))
		}
	}
}
