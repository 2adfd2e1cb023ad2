package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"morgana/xen/wire/xs"
)

// dump is a tree as text, children in their order.
func dump(n *Node) string {
	s := ""
	for p, x := range n.All("/") {
		s += fmt.Sprintf("%s=%s %v\n", p, x.value, x.perms.entries)
	}
	return s
}

// What Diff says makes one tree of the other, children in their order.
func TestDiff(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	dom0 := &Actor{Privileged: true}
	for round := range 15 {
		s := New(DefaultLimits(), nil)
		copied := New(DefaultLimits(), nil)
		last := s.Root()
		for range 40 {
			for range rnd.IntN(80) {
				p := fmt.Sprintf("/d%d/n%d", rnd.IntN(3), rnd.IntN(20+100*(round%5)))
				switch rnd.IntN(8) {
				case 0:
					_, _, _ = s.Remove(dom0, nil, p)
				case 1:
					_, _ = s.SetPerms(dom0, nil, p, []Entry{{Perm: xs.Perm{Access: xs.AccessRead}}})
				case 2:
					_, _ = s.Write(dom0, nil, p+"/below/deep", "x")
				case 3:
					if rnd.IntN(20) == 0 {
						_, _, _ = s.Remove(dom0, nil, Parent(p))
					}
				default:
					_, _ = s.Write(dom0, nil, p, fmt.Sprint(rnd.IntN(9)))
				}
			}
			for _, e := range Diff(last, s.Root()) {
				if e.Is == nil {
					if !copied.Delete(e.Path) {
						t.Fatalf("removal of %s, which is not there", e.Path)
					}
					continue
				}
				copied.Put(e.Path, e.Is.Value(), NewPerms(0, e.Is.Perms().Entries()...))
			}
			last = s.Root()
			if got, want := dump(copied.Root()), dump(last); got != want {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
			if copied.Usage(0) != s.Usage(0) {
				t.Fatalf("usage %+v, want %+v", copied.Usage(0), s.Usage(0))
			}
		}
	}
	if Diff(New(DefaultLimits(), nil).Root(), New(DefaultLimits(), nil).Root()) != nil {
		t.Error("two empty trees differ")
	}
}

func BenchmarkDiff(b *testing.B) {
	s := New(DefaultLimits(), nil)
	dom0 := &Actor{Privileged: true}
	for i := range 10_000 {
		_, _ = s.Write(dom0, nil, fmt.Sprintf("/bench/d%d/n%d", i/100, i), "x")
	}
	before := s.Root()
	_, _ = s.Write(dom0, nil, "/bench/d50/n5050", "y")
	after := s.Root()
	b.ReportAllocs()
	for b.Loop() {
		if len(Diff(before, after)) != 1 {
			b.Fatal()
		}
	}
}
