package store

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// check checks the form of a tree and returns its depth.
func (b *branch) check(t *testing.T) int {
	t.Helper()
	if (b.nodes == nil) == (b.subs == nil) || b.len() == 0 || b.len() > fan {
		t.Fatalf("a branch of %d nodes and %d branches", len(b.nodes), len(b.subs))
	}
	depth := 0
	for i, s := range b.subs {
		d := s.check(t) + 1
		if depth != 0 && d != depth {
			t.Fatal("leaves at different depths")
		}
		depth = d
		if i > 0 && b.subs[i-1].min >= s.min {
			t.Fatal("branches out of order")
		}
	}
	first := ""
	b.each(func(n *Node) bool {
		if first = n.name; n.name < b.min {
			t.Fatalf("%q below the first name %q", n.name, b.min)
		}
		return false
	})
	if first < b.min {
		t.Fatal("the first name is wrong")
	}
	return depth
}

// Any order of insertions and removals keeps the tree in form; older versions stay as they were.
func TestKids(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 10, 40, 1500} {
		var k *kids
		want := map[string]*Node{}
		born := uint64(0)
		old, oldNames := k, ""
		deepest := 0
		for i := range 6_000 {
			name := fmt.Sprint(rnd.IntN(size))
			if i > 4500 || rnd.IntN(3) == 0 { // in the end it shrinks
				k = k.without(name)
				delete(want, name)
			} else {
				born++
				n := &Node{name: name, born: born}
				if w := want[name]; w != nil {
					n.born = w.born
				}
				k = k.with(n)
				want[name] = n
			}
			if i == 2000 {
				old, oldNames = k, k.names()
			}
			if i%97 != 0 {
				continue
			}
			if k == nil {
				if len(want) != 0 {
					t.Fatal("all is gone")
				}
				continue
			}
			deepest = max(deepest, k.root.check(t))
			nodes := k.created()
			names := ""
			for j, n := range nodes {
				if want[n.name] != n || k.find(n.name) != n || j > 0 && nodes[j-1].born >= n.born {
					t.Fatalf("child %q", n.name)
				}
				names += n.name + "\x00"
			}
			if len(nodes) != len(want) || k.count != len(want) || k.names() != names || k.bytes != len(names) {
				t.Fatalf("%d children, want %d", k.count, len(want))
			}
		}
		if old.names() != oldNames {
			t.Error("an old version changed")
		}
		if size == 1500 && deepest < 1 {
			t.Error("the tree was never deep")
		}
	}
}

// Names in their order fill the branches.
func TestKidsInOrderStayFull(t *testing.T) {
	var k *kids
	for i := range 10_000 {
		k = k.with(&Node{name: fmt.Sprintf("%06d", i), born: uint64(i + 1)})
	}
	leaves, full := 0, 0
	var walk func(b *branch)
	walk = func(b *branch) {
		if b.nodes != nil {
			leaves++
			full += len(b.nodes)
		}
		for _, s := range b.subs {
			walk(s.branch)
		}
	}
	walk(&k.root)
	if full*10 < leaves*fan*8 {
		t.Errorf("%d leaves for %d nodes", leaves, full)
	}
}

func TestValidPath(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/a": true, "/a/b": true, "": false, "a": false, "//": false, "/a/": false, "/a//b": false, "/a b": false,
		"/\x00": false, "/é": false, "/@a-_/Z9": true,
		"/" + strings.Repeat("a", 2047):                     true,
		"/" + strings.Repeat("a", 2048):                     false,
		"/local/domain/5/" + strings.Repeat("a", 2048):      true,
		"/local/domain/5/" + strings.Repeat("a", 2049):      false,
		"/local/domain/12345/" + strings.Repeat("a", 2048):  true,
		"/local/domain/123456/" + strings.Repeat("a", 2048): false,
		"/local/domain/" + strings.Repeat("1", 2048):        false,
		"/local/domain//" + strings.Repeat("1", 2048):       false,
	} {
		if got := ValidPath(path, 2048); got != want {
			t.Errorf("%.40q (%d bytes): %v", path, len(path), got)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	s := New(DefaultLimits(), nil)
	dom0 := &Actor{Privileged: true}
	paths := make([]string, 100_000)
	for i := range paths {
		paths[i] = fmt.Sprintf("/bench/d%d/n%d", i/100, i)
		if _, e := s.Write(dom0, nil, paths[i], "a value of thirty-three bytes....."); e != 0 {
			b.Fatal(e)
		}
	}
	i := 0
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i = (i + 7919) % len(paths)
			_, _ = s.Write(dom0, nil, paths[i], "another value of the same length..")
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i = (i + 7919) % len(paths)
			_, _ = s.Read(dom0, nil, 2, paths[i])
		}
	})
	b.Run("mkdir and remove", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i = (i + 7919) % len(paths)
			p := paths[i] + "x"
			_, _, _ = s.Mkdir(dom0, nil, p)
			_, _, _ = s.Remove(dom0, nil, p)
		}
	})
}
