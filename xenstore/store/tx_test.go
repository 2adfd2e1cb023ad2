package store

import (
	"fmt"
	"testing"

	"morgana/xen/wire/xs"
)

var dom0 = &Actor{Privileged: true}

// What a transaction read of its own writing stays what it read, whatever it writes later: else it would not fit when its
// requests are made again.
func TestTxReadsItsOwnWrites(t *testing.T) {
	s := New(DefaultLimits(), nil)
	write := func(tx *Tx, path, value string) {
		t.Helper()
		if _, e := s.Write(dom0, tx, path, value); e != 0 {
			t.Fatal(e)
		}
	}
	write(nil, "/a/b", "0")
	tx := s.Begin()
	for i := range 5 {
		write(tx, "/a/b", fmt.Sprint("b", i))
		write(tx, fmt.Sprint("/a/c", i), "")
		for _, op := range []xs.Op{xs.Read, xs.Directory, xs.GetPerms} {
			for _, p := range []string{"/a", "/a/b"} {
				if _, e := s.Read(dom0, tx, op, p); e != 0 {
					t.Fatal(e)
				}
			}
		}
	}
	write(nil, "/elsewhere", "x") // so that the commit is a merge
	if o := s.Commit(dom0, tx); o.Errno != 0 || !o.Merged {
		t.Fatalf("commit: %+v", o)
	}
	s.End(tx)
	if n := s.Root().Lookup("/a/b"); n.Value() != "b4" || s.Root().Lookup("/a").Names() != "b\x00c0\x00c1\x00c2\x00c3\x00c4\x00" {
		t.Errorf("value %q, children %q", n.Value(), s.Root().Lookup("/a").Names())
	}
}

// A transaction's changes are its own: neither what the store was before nor what another one sees changes with it.
func TestTxKeepsToItself(t *testing.T) {
	s := New(DefaultLimits(), nil)
	for i := range 100 {
		if _, e := s.Write(dom0, nil, fmt.Sprint("/d/", i), "0"); e != 0 {
			t.Fatal(e)
		}
	}
	before := s.Root()
	one, two := s.Begin(), s.Begin()
	for round := range 3 {
		for i := range 100 {
			for k, tx := range []*Tx{one, two} {
				if _, e := s.Write(dom0, tx, fmt.Sprint("/d/", i), fmt.Sprintf("%d%d", k, round)); e != 0 {
					t.Fatal(e)
				}
			}
		}
	}
	if v := before.Lookup("/d/50").Value(); v != "0" || s.Current().Lookup("/d/50").Value() != "0" {
		t.Errorf("the store changed before the commit: %q", v)
	}
	if o := s.Commit(dom0, one); o.Errno != 0 {
		t.Fatal(o.Errno)
	}
	s.End(one)
	committed := s.Root()
	// Others come, in the place of the one that is over.
	three := s.Begin()
	for i := range 100 {
		if _, e := s.Write(dom0, three, fmt.Sprint("/d/", i), "three"); e != 0 {
			t.Fatal(e)
		}
	}
	s.End(three)
	if v := committed.Lookup("/d/50").Value(); v != "02" || before.Lookup("/d/50").Value() != "0" {
		t.Errorf("after the commit: %q, before it: %q", v, before.Lookup("/d/50").Value())
	}
	if o := s.Commit(dom0, two); o.Errno != 0 || committed.Lookup("/d/50").Value() != "02" || s.Root().Lookup("/d/50").Value() != "12" {
		t.Errorf("the second commit: %+v, %q", o.Errno, s.Root().Lookup("/d/50").Value())
	}
}
