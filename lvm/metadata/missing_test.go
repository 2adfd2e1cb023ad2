package metadata

import (
	"errors"
	"slices"
	"testing"
)

// missingVG has volume a on the first disk, b on the second and nothing on the third; the second and third are gone.
func missingVG(t *testing.T) *VG {
	t.Helper()
	env := testEnv(1)
	vg := testVG(t, "vg", env, 10, 10, 10)
	for _, r := range []CreateLV{
		{Name: "a", Size: Extents(3), PVs: []string{"/dev/vg0"}}, {Name: "b", Size: Extents(3), PVs: []string{"/dev/vg1"}},
	} {
		after, _, err := vg.CreateLV(env, r)
		if err != nil {
			t.Fatal(err)
		}
		vg = after
	}
	return vg.WithDevices(map[UUID]string{vg.pvs[0].ID: "/dev/vg0"})
}

// What a group with missing disks allows is what LVM2 allows.
func TestMissing(t *testing.T) {
	vg, env, yes := missingVG(t), testEnv(2), true
	checkVG(t, vg)
	for name, c := range map[string]struct {
		request func() (*VG, Operation, error)
		err     error
	}{
		"lvcreate":               {func() (*VG, Operation, error) { return vg.CreateLV(env, CreateLV{Size: Extents(1)}) }, ErrMissing},
		"lvextend":               {func() (*VG, Operation, error) { return vg.ResizeLV(env, ResizeLV{Name: "a", Size: Extents(4)}) }, ErrMissing},
		"lvrename":               {func() (*VG, Operation, error) { return vg.RenameLV("a", "c") }, ErrMissing},
		"lvremove":               {func() (*VG, Operation, error) { return vg.RemoveLV("a") }, nil},
		"lvremove, partial":      {func() (*VG, Operation, error) { return vg.RemoveLV("b") }, nil},
		"lvchange":               {func() (*VG, Operation, error) { return vg.ChangeLV(ChangeLV{Name: "a", ReadOnly: &yes}) }, nil},
		"vgchange":               {func() (*VG, Operation, error) { return vg.Change(env, ChangeVG{AddTags: []string{"t"}}) }, nil},
		"vgrename":               {func() (*VG, Operation, error) { return vg.Rename("w") }, ErrMissing},
		"vgreduce":               {func() (*VG, Operation, error) { return vg.ReducePVs([]string{"/dev/vg2"}) }, ErrMissing},
		"removemissing":          {func() (*VG, Operation, error) { return vg.RemoveMissing(false) }, ErrMissing},
		"removemissing, forced":  {func() (*VG, Operation, error) { return vg.RemoveMissing(true) }, nil},
		"restoremissing, absent": {func() (*VG, Operation, error) { return vg.RestoreMissing([]string{"/dev/vg1"}) }, ErrNotFound},
	} {
		after, _, err := c.request()
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if err == nil {
			checkVG(t, after)
		}
	}
	if lv := vg.LV("b"); !vg.PartialLV(lv) || vg.PartialLV(vg.LV("a")) {
		t.Error("b is partial and a is not")
	}
}

// A disk that comes back is used at once if nothing is on it, else when the user says so.
func TestMissingDisksComeBack(t *testing.T) {
	vg := missingVG(t)
	for _, pv := range vg.pvs[1:] {
		if !slices.Contains(pv.Flags, "MISSING") {
			t.Errorf("%s is not marked", pv.Device)
		}
	}
	devices := map[UUID]string{}
	for _, pv := range vg.pvs {
		devices[pv.ID] = pv.Device
	}
	read, err := Parse(vg.AppendText(nil, Stamp{}))
	if err != nil {
		t.Fatal(err)
	}
	back := read.WithDevices(devices)
	checkVG(t, back)
	if back.pvs[2].Missing() || !back.pvs[1].Missing() {
		t.Error("the empty disk is back, the other one waits")
	}
	after, op, err := back.RestoreMissing([]string{"/dev/vg1"})
	if err != nil {
		t.Fatal(err)
	}
	checkVG(t, after)
	checkOp(t, back, after, op)
	if after.Partial() {
		t.Error("everything is back")
	}
	forced, _, err := vg.RemoveMissing(true)
	if err != nil {
		t.Fatal(err)
	}
	if len(forced.PVs()) != 1 || forced.NumLVs() != 1 || forced.LV("a") == nil {
		t.Errorf("left: %v", textOf(forced))
	}
}
