package lvm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

// putText writes a text into the first metadata areas of disks, as if a program had written it that knows more, or
// nothing, about the format.
func (b *bench) putText(raw string, which ...int) {
	b.t.Helper()
	inv := b.scan()
	for _, i := range which {
		a := inv.PV(b.disks[i].Name).Areas[0]
		h := a.Header
		body := append([]byte(raw), 0)
		s, err := h.Place(uint64(len(body)), 512)
		b.check(err)
		s.CRC = ondisk.CRC(ondisk.CRCInit, body)
		ps, err := h.Pieces(s)
		b.check(err)
		for _, p := range ps {
			_, err := b.disks[i].Device.WriteAt(body[:p.N], int64(p.Offset))
			b.check(err)
			body = body[p.N:]
		}
		h.Slots = [2]ondisk.Slot{s, {}}
		_, err = b.disks[i].Device.WriteAt(ondisk.AppendHeader(nil, h), int64(h.Start))
		b.check(err)
	}
}

// edit changes the text of the group "data" on disks.
func (b *bench) edit(from, to string, which ...int) {
	b.t.Helper()
	if len(which) == 0 {
		which = []int{0, 1, 2}
	}
	raw := string(b.scan().PV(b.disks[which[0]].Name).Areas[0].Text())
	if !strings.Contains(raw, from) {
		b.t.Fatalf("the text has no %q:\n%s", from, raw)
	}
	b.putText(strings.Replace(raw, from, to, 1), which...)
}

// threeDisks makes a group of three disks with one metadata area each.
func threeDisks(b *bench) {
	b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 0, 1, 2))
	b.change("data", b.lvcreate("a", 10))
	b.change("data", b.lvcreate("b", 20, "/dev/d1"))
}

const stripedType = `type = "striped"`

// What LVM2 must not change is not changed here, and what it would damage neither: the table of refusals.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name  string
		harm  func(*bench)
		which []int // disks that are scanned, all if none
		write error // of opening for changes, nil if it works
		read  error // of opening for reading
		allow lvm.Allow
		msg   string
	}{
		{name: "nothing wrong", harm: func(*bench) {}},
		{name: "unknown segment type", harm: func(b *bench) { b.edit(stripedType, `type = "quantum"`) }, write: lvm.ErrUnknown, allow: lvm.AllowUnknown, msg: "Cannot change VG data with unknown segments in it!"},
		{name: "unknown segment flag", harm: func(b *bench) { b.edit(stripedType, `type = "striped+FOO"`) }, write: lvm.ErrUnknown, allow: lvm.AllowUnknown},
		{name: "unknown status of a logical volume", harm: func(b *bench) { b.edit(`"VISIBLE"`, `"VISIBLE", "HOVERING"`) }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable, msg: "HOVERING"},
		{name: "unknown status of the group", harm: func(b *bench) { b.edit(`"RESIZEABLE"`, `"RESIZEABLE", "SLEEPY"`) }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "version 2", harm: func(b *bench) { b.edit("version = 1", "version = 2") }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "other format", harm: func(b *bench) { b.edit(`format = "lvm2"`, `format = "lvm3"`) }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "no max_lv", harm: func(b *bench) { b.edit("max_lv", "min_lv") }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "no pe_count", harm: func(b *bench) { b.edit("pe_count", "pe_cnt") }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "no segment_count", harm: func(b *bench) { b.edit("segment_count = 1", "segment_count = 2") }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "seqno is a string", harm: func(b *bench) { b.edit("seqno = 3", `seqno = "3"`) }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "a gap between segments", harm: func(b *bench) { b.edit("start_extent = 0", "start_extent = 1") }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "two volumes on one extent", harm: func(b *bench) { b.edit(`"pv1", 0`, `"pv0", 0`) }, write: lvm.ErrUnreadable, read: lvm.ErrUnreadable},
		{name: "unknown flags", harm: func(b *bench) { b.edit("flags = []", `flags = ["FUTURE"]`) }},
		{name: "not in the grammar", harm: func(b *bench) { b.edit("max_lv", "= max_lv") }, write: lvm.ErrNotFound, read: lvm.ErrNotFound},
		{name: "unknown keys", harm: func(b *bench) { b.edit("max_lv", "future { key = [1, \"two\"] }\nother = 010\nmax_lv") }},
		{name: "foreign", harm: func(b *bench) { b.edit("extent_size", "system_id = \"elsewhere\"\nextent_size") }, write: lvm.ErrForeign, read: lvm.ErrForeign, msg: "Cannot access VG data with system ID elsewhere with local system ID here."},
		{name: "our own system", harm: func(b *bench) { b.edit("extent_size", "system_id = \"here\"\nextent_size") }},
		{name: "sanlock", harm: func(b *bench) { b.edit("extent_size", "lock_type = \"sanlock\"\nextent_size") }, write: lvm.ErrShared, read: lvm.ErrShared, msg: "requires lvmlockd"},
		{name: "unknown lock type", harm: func(b *bench) { b.edit("extent_size", "lock_type = \"mlvm\"\nextent_size") }, write: lvm.ErrShared, read: lvm.ErrShared},
		{name: "lock type none", harm: func(b *bench) { b.edit("extent_size", "lock_type = \"none\"\nextent_size") }},
		{name: "clustered", harm: func(b *bench) { b.edit(`"RESIZEABLE"`, `"RESIZEABLE", "CLUSTERED"`) }, write: lvm.ErrShared, read: lvm.ErrShared},
		{name: "exported", harm: func(b *bench) { b.edit(`"RESIZEABLE"`, `"EXPORTED", "RESIZEABLE"`) }, write: lvm.ErrExported, allow: lvm.AllowExported, msg: "Volume group data is exported"},
		{name: "read-only status", harm: func(b *bench) { b.edit(`"READ", "WRITE"`, `"READ"`) }, write: lvm.ErrReadOnly, allow: lvm.AllowReadOnlyStatus, msg: "Volume group data is read-only"},
		{name: "a disk is missing", harm: func(*bench) {}, which: []int{0, 1}, write: lvm.ErrMissing, allow: lvm.AllowMissing, msg: "Cannot change VG data while PVs are missing."},
		{name: "duplicate", harm: func(b *bench) { b.copyDisk(2, 3) }, write: lvm.ErrDuplicate, msg: "Cannot update volume group data with duplicate PV devices."},
		{name: "one header is damaged", harm: func(b *bench) { b.damage(1, 4096+41) }},
		{name: "one text is damaged", harm: func(b *bench) { b.damageText(1) }},
		{name: "all texts are damaged", harm: func(b *bench) { b.damageText(0); b.damageText(1); b.damageText(2) }, write: lvm.ErrNotFound, read: lvm.ErrNotFound},
		{name: "an older copy", harm: func(b *bench) { b.edit("seqno = 3", "seqno = 2", 1) }},
		{name: "the same number, another text", harm: func(b *bench) { b.edit("max_lv = 0", "max_lv = 7", 1) }, write: lvm.ErrMismatch, msg: "/dev/d1"},
		{name: "no label", harm: func(b *bench) { b.damage(1, 600) }, write: lvm.ErrMissing},
		{name: "another name", harm: func(b *bench) { b.edit("data {", "date {") }, write: lvm.ErrNotFound, read: lvm.ErrNotFound},
		{name: "no name", harm: func(b *bench) { b.edit("data {", "# a comment\ndata {") }, write: lvm.ErrNotFound, read: lvm.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, 4, 64*mib, 512)
			threeDisks(b)
			tt.harm(b)
			b.rec.Start()
			inv := b.scan(tt.which...)
			for _, mode := range []lvm.Mode{lvm.ReadOnly, lvm.ReadWrite} {
				o := lvm.OpenOptions{Mode: mode, SystemIDs: []string{"here"}}
				want := map[lvm.Mode]error{lvm.ReadOnly: tt.read, lvm.ReadWrite: tt.write}[mode]
				g, err := inv.Open("data", o)
				if !errors.Is(err, want) || err != nil && (want == nil || !strings.Contains(err.Error(), tt.msg) && mode == lvm.ReadWrite) {
					t.Errorf("mode %d: %v, want %v, %q", mode, err, want, tt.msg)
				}
				if err == nil && mode == lvm.ReadOnly {
					if err := apply(g, b.lvcreate("c", 1)); err == nil {
						t.Error("a group that was opened for reading was changed")
					}
				}
				if tt.allow != 0 && mode == lvm.ReadWrite {
					o.Allow = tt.allow
					if _, err := inv.Open("data", o); err != nil {
						t.Errorf("although it is allowed: %v", err)
					}
				}
			}
			if w, f, _ := b.rec.Counts(); w+f > 0 {
				t.Errorf("scanning and opening made %d writes and %d flushes", w, f)
			}
			if tt.write == nil {
				b.check(apply(must(inv.Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite, SystemIDs: []string{"here"}})), b.lvcreate("c", 1)))
				after := b.scan(tt.which...)
				f, err := after.Group("data")
				if err != nil || f.VG.LV("c") == nil {
					t.Errorf("after the change: %v, %v", err, after.Problems())
				}
			}
		})
	}
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

func (b *bench) damage(disk int, off int64) {
	b.t.Helper()
	p := make([]byte, 1)
	_, err := b.disks[disk].Device.ReadAt(p, off)
	b.check(err)
	p[0] ^= 0xff
	_, err = b.disks[disk].Device.WriteAt(p, off)
	b.check(err)
}

func (b *bench) damageText(disk int) {
	b.t.Helper()
	a := b.scan().PV(b.disks[disk].Name).Areas[0]
	b.damage(disk, int64(a.Area.Offset+a.Header.Slots[0].Offset)+100)
}

func (b *bench) copyDisk(from, to int) {
	b.t.Helper()
	p := make([]byte, 2*mib)
	_, err := b.disks[from].Device.ReadAt(p, 0)
	b.check(err)
	_, err = b.disks[to].Device.WriteAt(p, 0)
	b.check(err)
}

// What is not known here survives a change value for value, as it was written.
func TestUnknownSurvives(t *testing.T) {
	b := newBench(t, 3, 64*mib, 512)
	threeDisks(b)
	b.edit("max_lv = 0", "max_lv = 00\nfuture = [1, \"two\", 3.50]")
	b.edit("flags = []", `flags = ["FUTURE"]`)
	b.edit("stripe_count = 1", "stripe_count = 1\nquantum = \"yes \\\"no\\\"\"")
	b.edit("contents =", "moon = full\ncontents =")
	b.change("data", b.lvcreate("c", 1))
	raw := string(b.scan().PV("/dev/d0").Areas[0].Text())
	for _, want := range []string{
		"max_lv = 00\n", "future = [1, \"two\", 3.50]\n", "flags = [\"FUTURE\"]\n", "quantum = \"yes \\\"no\\\"\"\n", "moon = full\n",
	} {
		if !strings.Contains(raw, want) {
			t.Errorf("%q is lost:\n%s", want, raw)
		}
	}
}

// Two groups with one name are both listed, and opened by their UUIDs.
func TestTwoGroupsOneName(t *testing.T) {
	b := newBench(t, 2, 64*mib, 512)
	one := b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 0))
	two := b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 1))
	inv := b.scan()
	if _, err := inv.Open("data", lvm.OpenOptions{}); !errors.Is(err, lvm.ErrAmbiguous) {
		t.Error(err)
	}
	for _, g := range []*lvm.Group{one, two} {
		got, err := inv.Open(g.VG().ID().String(), lvm.OpenOptions{})
		if err != nil || got.VG().ID() != g.VG().ID() {
			t.Error(got, err)
		}
	}
}

// Damage is told with its place and the remedy, other groups go on, and vgck --updatemetadata repairs it.
func TestRepair(t *testing.T) {
	ctx := context.Background()
	for name, harm := range map[string]func(*bench){
		"header": func(b *bench) { b.damage(1, 4096+50) },
		"text":   func(b *bench) { b.damageText(1) },
		"magic":  func(b *bench) { b.damage(2, 4096+5) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 4, 64*mib, 512)
			threeDisks(b)
			b.vgcreate("fine", b.pvcreate(lvm.PVOptions{}, 3))
			harm(b)
			inv := b.scan()
			if len(inv.Problems()) != 1 || !strings.Contains(inv.Problems()[0].Error(), "vgck --updatemetadata") ||
				!strings.Contains(inv.Problems()[0].Error(), "at byte ") {
				t.Errorf("%v", inv.Problems())
			}
			b.change("fine", b.lvcreate("x", 1))
			b.change("data", b.lvcreate("y", 1)) // goes on without the damaged copy
			if n := len(b.scan().Problems()); n != 1 {
				t.Errorf("%d problems after a change: it is not repaired by the way", n)
			}
			b.check(b.open("data").UpdateMetadata(ctx))
			inv = b.scan()
			f := must(inv.Group("data"))
			if len(inv.Problems()) > 0 || len(f.Current) != 3 || f.VG.LV("y") == nil {
				t.Errorf("%v, %d copies", inv.Problems(), len(f.Current))
			}
		})
	}
}

// Where copies differ in spite of the same number, the user says which counts.
func TestMismatchIsChosen(t *testing.T) {
	for disk, limit := range map[string]uint32{"/dev/d0": 0, "/dev/d1": 7} {
		b := newBench(t, 3, 64*mib, 512)
		threeDisks(b)
		b.edit("max_lv = 0", "max_lv = 7", 1)
		g, err := b.scan().Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite, Prefer: disk})
		b.check(err)
		b.check(g.UpdateMetadata(context.Background()))
		inv := b.scan()
		f := must(inv.Group("data"))
		if len(inv.Problems()) > 0 || f.VG.MaxLV() != limit || len(f.Current) != 3 {
			t.Errorf("%s: max_lv %d, %v", disk, f.VG.MaxLV(), inv.Problems())
		}
	}
}

// A disk that a group gave up while it was absent is told of, and only the command clears it.
func TestOutdated(t *testing.T) {
	b := newBench(t, 3, 64*mib, 512)
	b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 0, 1, 2))
	g, err := b.scan(0, 1).Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite, Allow: lvm.AllowMissing})
	b.check(err)
	b.check(apply(g, func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.RemoveMissing(false) }))
	inv := b.scan()
	if pv := inv.PV("/dev/d2"); !pv.Outdated || pv.Group.Name != "data" || len(inv.Problems()) != 1 {
		t.Errorf("%+v, %v", pv, inv.Problems())
	}
	b.change("data", b.lvcreate("a", 1))
	if pv := b.scan().PV("/dev/d2"); !pv.Outdated {
		t.Error("a change cleared it by the way")
	}
	b.check(b.open("data").UpdateMetadata(context.Background()))
	inv = b.scan()
	if pv := inv.PV("/dev/d2"); !pv.Orphan() || pv.Label.Used() || len(inv.Problems()) > 0 {
		t.Errorf("%+v, %v", pv, inv.Problems())
	}
}

// Nothing is allocated behind the end of a disk that has become smaller.
func TestShortDisk(t *testing.T) {
	b := newBench(t, 1, 64*mib, 512)
	b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 0))
	b.change("data", b.lvcreate("a", 10))
	b.disks[0].Device = shorter{b.disks[0].Device, 32 * mib}
	inv := b.scan()
	if f := must(inv.Group("data")); len(f.Short) != 1 || len(inv.Problems()) != 1 {
		t.Error(f.Short, inv.Problems())
	}
	b.change("data", b.lvcreate("fits", 15))
	if err := apply(b.open("data"), b.lvcreate("not", 10)); !errors.Is(err, lvm.ErrTooSmall) {
		t.Error(err)
	}
}

// A text that does not fit is refused before anything is written.
func TestTooMuchMetadata(t *testing.T) {
	b := newBench(t, 1, 256*mib, 512)
	b.vgcreate("data", b.pvcreate(lvm.PVOptions{AreaSize: 32 << 10, Alignment: 32 << 10}, 0))
	var err error
	n := 0
	for ; err == nil && n < 200; n++ {
		g := b.open("data")
		b.rec.Start()
		err = apply(g, b.lvcreate(fmt.Sprintf("volume%d", n), 1))
	}
	if w, f, _ := b.rec.Counts(); !errors.Is(err, ondisk.ErrTooBig) || w+f > 0 {
		t.Errorf("%v after %d volumes, %d writes, %d flushes", err, n, w, f)
	} else if !strings.Contains(err.Error(), "exceeds maximum metadata size") {
		t.Error(err)
	}
}

// Somebody else's change between opening and committing is noticed.
func TestChangedByOthers(t *testing.T) {
	b := newBench(t, 2, 64*mib, 512)
	b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 0, 1))
	g := b.open("data")
	b.change("data", b.lvcreate("theirs", 1))
	if err := apply(g, b.lvcreate("ours", 1)); !errors.Is(err, lvm.ErrChanged) {
		t.Error(err)
	}
	if vg := b.open("data").VG(); vg.LV("theirs") == nil || vg.LV("ours") != nil {
		t.Error("their change was lost")
	}
}

// A disk that was absent while its group changed is marked. When it is back it is used again if nothing was on it;
// otherwise the user says so.
func TestDiskIsBack(t *testing.T) {
	b := newBench(t, 3, 64*mib, 512)
	b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 0, 1, 2))
	b.change("data", b.lvcreate("a", 10, "/dev/d0"))
	b.change("data", b.lvcreate("b", 10, "/dev/d1"))
	remove := func(name string, which ...int) {
		g, err := b.scan(which...).Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite, Allow: lvm.AllowMissing})
		b.check(err)
		b.check(apply(g, func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.RemoveLV(name) }))
	}
	remove("a", 0, 1)
	if raw := string(b.scan().PV("/dev/d0").Areas[0].Text()); strings.Count(raw, `flags = ["MISSING"]`) != 1 {
		t.Errorf("the absent disk is not marked:\n%s", raw)
	}
	b.change("data", b.lvcreate("c", 1, "/dev/d2")) // nothing was on it
	if raw := string(b.scan().PV("/dev/d2").Areas[0].Text()); strings.Contains(raw, "MISSING") {
		t.Errorf("the disk that is back is still marked:\n%s", raw)
	}
	b.change("data", b.lvcreate("d", 10, "/dev/d0"))
	remove("d", 0, 2) // d1 has volume b
	if _, err := b.scan().Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite}); !errors.Is(err, lvm.ErrMissing) {
		t.Error("a disk that is back with volumes on it was taken as it is:", err)
	}
}

// A disk that two groups claim, because somebody else's split was interrupted, is changed by neither, and the backup
// of one of them settles it.
func TestContested(t *testing.T) {
	b := newBench(t, 2, 64*mib, 512)
	b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 0, 1))
	g := b.open("data")
	_, _, other, _, err := g.VG().Split(b.env(), metadata.Split{Name: "other", PVs: []string{"/dev/d1"}})
	b.check(err)
	b.putText(string(other.AppendText(nil, metadata.Stamp{Description: "half a split"})), 1)
	inv := b.scan()
	for _, name := range []string{"data", "other"} {
		if _, err := inv.Open(name, lvm.OpenOptions{Mode: lvm.ReadWrite, Allow: lvm.AllowMissing}); !errors.Is(err, lvm.ErrContested) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = inv.Restore(context.Background(), g.VG(), lvm.OpenOptions{})
	b.check(err)
	inv = b.scan()
	if len(inv.Groups()) != 1 || len(inv.Problems()) > 0 {
		t.Errorf("%d groups, %v", len(inv.Groups()), inv.Problems())
	}
	b.change("data", b.lvcreate("a", 100))
}
