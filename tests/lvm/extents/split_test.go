package extents

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/metadata"
	"morgana/tests/lvm/oracle"
)

// TestSplitMergeSameAsLVM2 splits groups, merges them again, exports, imports and renames them.
func TestSplitMergeSameAsLVM2(t *testing.T) {
	if testing.Short() {
		t.Skip("runs lvm2 many times")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := splitter{walk{t: t, rand: rand.New(rand.NewPCG(seed, 0)), o: oracle.New(t)}}
	s.env = metadata.Env{Rand: endless{s.rand}, Now: 1, Host: "localhost"}
	s.disks = s.o.Disks(5, 8<<20)
	args := []string{"vgcreate", "-s", "64k", "vg"}
	for _, d := range s.disks {
		args = append(args, d.Path)
	}
	s.o.Must(args...)
	s.vg = s.read()
	splits := 0
	for i := range 12 {
		for range 3 {
			// A volume without extents stays here as with newer versions of LVM2; 2.03.16 moves it.
			if c := s.create(100*i + s.rand.IntN(100)); s.rand.IntN(3) > 0 && !slices.Contains(c.args, "--type") {
				s.compare(c)
			} else if c := s.remove(); c.args != nil {
				s.compare(c)
			}
		}
		if s.split() {
			splits++
		}
		s.compare(command{[]string{"vgexport", "vg"}, s.vg.Export})
		s.compare(command{[]string{"lvcreate", "-an", "-l1", "vg"}, func() (*metadata.VG, metadata.Operation, error) {
			return s.vg.CreateLV(s.env, metadata.CreateLV{Size: metadata.Extents(1)})
		}})
		s.compare(command{[]string{"vgimport", "vg"}, func() (*metadata.VG, metadata.Operation, error) { return s.vg.Import("") }})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d splits", splits)
}

type splitter struct{ walk }

func (s *splitter) group(name string) *metadata.VG {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.o.BackupDir(), name))
	if err != nil {
		s.t.Fatal(err)
	}
	vg, err := metadata.Parse(b)
	if err != nil {
		s.t.Fatal(err)
	}
	return vg
}

// split splits some disks off and merges them again. It reports whether that could be done.
func (s *splitter) split() bool {
	s.t.Helper()
	r := metadata.Split{Name: "new"}
	for _, i := range s.rand.Perm(len(s.disks))[:1+s.rand.IntN(3)] {
		r.PVs = append(r.PVs, s.disks[i].Path)
	}
	args := append([]string{"vgsplit", "vg", "new"}, r.PVs...)
	stay, _, other, _, err := s.vg.Split(s.env, r)
	got := s.o.Run(args...)
	if (got.Code == 0) != (err == nil) {
		s.t.Fatalf("%q\nlvm2: %d %s%s\nhere: %v", args, got.Code, got.Stdout, got.Stderr, err)
	}
	if err != nil {
		if !strings.Contains(got.Stderr, err.Error()) {
			s.t.Errorf("lvm2 says %q, here: %v", got.Stderr, err)
		}
		return false
	}
	real, realOther := s.read(), s.group("new")
	if d := cmp.Diff(picture(real), picture(stay)); d != "" {
		s.t.Errorf("%q: what stays, -lvm2 +here\n%s", args, d)
	}
	if d := cmp.Diff(split(realOther), split(other)); d != "" {
		s.t.Errorf("%q: what goes, -lvm2 +here\n%s", args, d)
	}
	merged, _, err := real.Merge(s.env, realOther)
	if err != nil {
		s.t.Fatal(err)
	}
	s.o.Must("vgmerge", "vg", "new")
	s.vg = s.read()
	if d := cmp.Diff(picture(s.vg), picture(merged)); d != "" {
		s.t.Errorf("%q: merged, -lvm2 +here\n%s", args, d)
	}
	// The renamed group is the same but for its name.
	renamed, _, err := s.vg.Rename("other")
	if err != nil {
		s.t.Fatal(err)
	}
	s.o.Must("vgrename", "vg", "other")
	if d := cmp.Diff(split(s.group("other")), split(renamed)); d != "" {
		s.t.Errorf("renamed: -lvm2 +here\n%s", d)
	}
	s.o.Must("vgrename", "other", "vg")
	s.vg = s.read()
	return true
}

// split is a picture without the seqno, which LVM2 raises by more than one for a new group.
func split(vg *metadata.VG) []string {
	return slices.DeleteFunc(picture(vg), func(l string) bool { return strings.HasPrefix(l, "seqno") })
}
