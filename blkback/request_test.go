package blkback

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/wire/blkif"
)

const mib = 1 << 20

// each runs a test on every way that data can take, on disks that take vectors and on those that do not.
func each(t *testing.T, test func(t *testing.T, g *guard, f *front)) {
	for name, w := range ways() {
		for _, vec := range []bool{false, true} {
			n := name
			if vec {
				n += ", vectored"
			}
			t.Run(n, func(t *testing.T) {
				g := newGuard(t, 8*mib, 512)
				var dev block.Device = g
				if vec {
					dev = vectored{g}
				}
				test(t, g, connect(t, dev, w))
			})
		}
	}
}

// A disk holds what a slice of bytes does, whatever requests move it and however they are cut into segments.
func TestDiskIsAModel(t *testing.T) {
	each(t, func(t *testing.T, g *guard, f *front) {
		rng := rand.New(rand.NewPCG(seed(t), 2))
		model := make([]byte, g.Size())
		sectors := g.Size() / 512
		rounds := 120
		if testing.Short() {
			rounds = 40
		}
		for range rounds {
			// A batch of requests that do not touch each other's sectors; some follow each other.
			var reqs []blkif.Request
			var after []func()
			at := rng.Int64N(sectors / 2)
			page := 0
			for range 1 + rng.IntN(12) {
				if rng.IntN(3) > 0 {
					at += rng.Int64N(200)
				}
				n := 1 + rng.IntN(11)
				if rng.IntN(5) == 0 {
					n = 1 + rng.IntN(40)
				}
				if page+n+1 > dataPages {
					break
				}
				var segs []blkif.Segment
				var mem [][]byte
				length := int64(0)
				for range n {
					first, last := uint8(0), uint8(7)
					if rng.IntN(3) == 0 {
						first = uint8(rng.IntN(8))
						last = first + uint8(rng.IntN(8-int(first)))
					}
					s := f.seg(page, first, last)
					b := f.page(page)[s.Offset():][:s.Len()]
					page++
					segs, mem = append(segs, s), append(mem, b)
					length += int64(s.Len())
				}
				if at*512+length > g.Size() {
					break
				}
				place := model[at*512:][:length]
				op := blkif.Write
				if rng.IntN(2) == 0 {
					op = blkif.Read
				}
				for _, b := range mem {
					for i := range b {
						b[i] = byte(rng.Uint32())
					}
					if op == blkif.Write {
						place = place[copy(place, b):]
					}
				}
				if op == blkif.Read {
					after = append(after, func() {
						rest := place
						for i, b := range mem {
							if !bytes.Equal(b, rest[:len(b)]) {
								t.Fatalf("segment %d of a read differs", i)
							}
							rest = rest[len(b):]
						}
					})
				}
				var r blkif.Request
				if n > blkif.MaxSegments || rng.IntN(4) == 0 {
					r = f.indirect(op, uint64(at), page, segs)
					page++
				} else {
					r = blkif.Request{Op: op, Sector: uint64(at), Segments: n}
					copy(r.Direct[:], segs)
				}
				reqs = append(reqs, r)
				at += length / 512
			}
			f.good(reqs...)
			for _, check := range after {
				check()
			}
		}
		got := make([]byte, g.Size())
		if _, err := g.mem.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
			t.Fatal("the disk differs from the model", err)
		}
	})
}

// Requests that follow each other on the disk are one call of the device; others are not.
func TestAdjacentRequestsAreOneCall(t *testing.T) {
	each(t, func(t *testing.T, g *guard, f *front) {
		f.good(f.whole(blkif.Write, 0, 0, 3), f.whole(blkif.Write, 24, 3, 11), f.whole(blkif.Write, 112, 14, 1))
		if g.writes != 1 {
			t.Errorf("three writes in a row were %d calls, want 1", g.writes)
		}
		f.good(f.whole(blkif.Read, 0, 20, 1), f.whole(blkif.Read, 16, 21, 1), f.whole(blkif.Write, 24, 22, 1))
		if g.reads != 2 || g.writes != 2 {
			t.Errorf("two reads and a write apart were %d and %d calls, want 2 and 1", g.reads, g.writes-1)
		}
		f.good(blkif.Request{Op: blkif.Flush, Sector: 1<<64 - 1}, blkif.Request{Op: blkif.Flush})
		if g.flushes != 1 {
			t.Errorf("two flushes in a row were %d, want 1", g.flushes)
		}
	})
}

// An error of the disk meets the request that it belongs to, also where several were one call.
func TestDiskErrorMeetsItsRequest(t *testing.T) {
	each(t, func(t *testing.T, g *guard, f *front) {
		bad := int64(40 * 512)
		g.fail = func(_ bool, off, n int64) error {
			if off <= bad && bad < off+n {
				return errors.New("medium error")
			}
			return nil
		}
		for _, op := range []blkif.Op{blkif.Write, blkif.Read} {
			got := f.do(f.whole(op, 0, 0, 4), f.whole(op, 32, 4, 4), f.whole(op, 64, 8, 4), f.whole(op, 4096, 12, 1))
			for i, want := range []blkif.Status{blkif.OK, blkif.Failed, blkif.OK, blkif.OK} {
				if got[i] != want {
					t.Errorf("%v %d: status %d, want %d", op, i, got[i], want)
				}
			}
		}
		if s := &f.disk.stats; s.Failed() != 2 || s.Requests(StatRead) != 4 || s.Bytes(StatWrite) != 9*4096 {
			t.Errorf("%d failed, %d reads, %d bytes written; want 2, 4, %d", s.Failed(), s.Requests(StatRead), s.Bytes(StatWrite), 9*4096)
		}
		if len(f.reports) != 1 {
			t.Errorf("%d reports within a second, want 1: %v", len(f.reports), f.reports)
		}
	})
}

// The data of a read that failed does not reach the frontend: not what was left in a buffer by another.
func TestFailedReadShowsNothing(t *testing.T) {
	each(t, func(t *testing.T, g *guard, f *front) {
		secret := f.page(0)
		for i := range secret {
			secret[i] = 's'
		}
		f.good(f.whole(blkif.Write, 0, 0, 1))
		clear(secret)
		g.fail = func(bool, int64, int64) error { return errors.New("medium error") }
		if got := f.do(f.whole(blkif.Read, 64, 1, 1)); got[0] != blkif.Failed {
			t.Fatal(got)
		}
		if !bytes.Equal(f.page(1), make([]byte, xen.PageSize)) {
			t.Error("the page of a read that failed was written")
		}
	})
}

func TestFlushBarrierDiscard(t *testing.T) {
	g := newGuard(t, 8*mib, 512)
	f := connect(t, g, wiring{})
	f.page(0)[0] = 'b'
	f.good(f.whole(blkif.Barrier, 8, 0, 1))
	if g.flushes != 2 || g.writes != 1 {
		t.Errorf("a barrier: %d flushes and %d writes, want 2 and 1", g.flushes, g.writes)
	}
	f.good(f.whole(blkif.Flush, 16, 0, 1))
	if g.flushes != 4 || g.writes != 2 {
		t.Errorf("a flush with data: %d flushes and %d writes, want 2 and 1", g.flushes-2, g.writes-1)
	}
	f.good(blkif.Request{Op: blkif.Barrier})
	f.good(blkif.Request{Op: blkif.Discard, Sector: 8, Count: 8})
	f.good(f.whole(blkif.Read, 8, 1, 1))
	if g.trims != 1 || f.page(1)[0] != 0 {
		t.Error("discarded data is still there")
	}
	// As blkif.h has it, the flag for a secure discard is ignored where none is offered.
	writes := g.writes
	f.good(blkif.Request{Op: blkif.Discard, Secure: true, Sector: 16, Count: 8})
	if g.trims != 2 || g.writes != writes+1 { // the guard counts a discard as a write
		t.Error("a discard that is not offered as secure wrote to the disk")
	}
}

func TestSecureDiscardOverwrites(t *testing.T) {
	g := newGuard(t, 8*mib, 512)
	f := connect(t, g, wiring{secure: true})
	var order []string
	written := int64(0)
	g.fail = func(_ bool, off, n int64) error {
		switch {
		case g.trims == 0 && n < 1000*512:
			written += n
			order = append(order, "write")
		default:
			order = append(order, "discard")
		}
		return nil
	}
	f.good(blkif.Request{Op: blkif.Discard, Secure: true, Sector: 8, Count: 1000})
	if written != 1000*512 || order[len(order)-1] != "discard" || g.flushes != 1 {
		t.Errorf("%d bytes overwritten, %d flushes, order %v; want %d, 1, and the discard last", written, g.flushes, order, 1000*512)
	}
}

// A disk of 4096-byte sectors takes whole sectors only; sector numbers still count 512 bytes.
func TestLargeSectors(t *testing.T) {
	g := newGuard(t, 8*mib+512, 4096)
	f := connect(t, g, wiring{})
	if got, want := f.disk.sectors(), uint64(8*mib/512); got != want {
		t.Errorf("%d sectors, want %d: only whole ones of the disk's", got, want)
	}
	f.good(f.whole(blkif.Write, 8, 0, 2))
	half := blkif.Request{Op: blkif.Read, Sector: 8, Segments: 1}
	half.Direct[0] = f.seg(0, 0, 3)
	got := f.do(f.whole(blkif.Read, 4, 0, 1), half, f.whole(blkif.Read, 8*mib/512, 0, 1))
	for i, s := range got {
		if s != blkif.Failed {
			t.Errorf("request %d: status %d, want an error", i, s)
		}
	}
}

// A request is held to the size that the disk has when it is taken.
func TestGrowAndShrink(t *testing.T) {
	small, big := newGuard(t, mib, 512), newGuard(t, 2*mib, 512)
	f := connect(t, small, wiring{})
	beyond := f.whole(blkif.Write, mib/512, 0, 1)
	if got := f.do(beyond); got[0] != blkif.Failed {
		t.Fatal(got)
	}
	f.check(f.disk.replace(big, nil))
	f.good(beyond)
	if small.flushes != 1 {
		t.Errorf("the device that was replaced was flushed %d times, want 1", small.flushes)
	}
	f.check(f.disk.replace(small, nil))
	if got := f.do(beyond); got[0] != blkif.Failed {
		t.Fatal(got)
	}
	if err := f.disk.replace(block.NewMem(mib, 4096), nil); !errors.Is(err, errSectorSize) {
		t.Error(err)
	}
}

func TestReadOnlyRefusesEveryWrite(t *testing.T) {
	for name, w := range ways() {
		t.Run(name, func(t *testing.T) {
			w.readOnly = true
			g := newGuard(t, mib, 512)
			g.readOnly = true
			f := connect(t, g, w)
			got := f.do(
				f.whole(blkif.Write, 0, 0, 1), f.whole(blkif.Barrier, 0, 0, 1), f.whole(blkif.Flush, 0, 0, 1),
				f.indirect(blkif.Write, 0, 9, []blkif.Segment{f.seg(0, 0, 7)}),
				blkif.Request{Op: blkif.Discard, Count: 8}, blkif.Request{Op: blkif.Discard, Secure: true, Count: 8},
			)
			for i, s := range got {
				if s == blkif.OK {
					t.Errorf("request %d succeeded on a read-only disk", i)
				}
			}
			f.good(f.whole(blkif.Read, 0, 0, 1), blkif.Request{Op: blkif.Flush})
		})
	}
}
