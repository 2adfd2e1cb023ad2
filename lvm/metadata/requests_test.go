package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// source is randomness that tests can repeat.
type source struct{ *rand.Rand }

func (s source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.Uint32())
	}
	return len(b), nil
}

func testEnv(seed uint64) Env {
	return Env{Rand: source{rand.New(rand.NewPCG(seed, 1))}, Now: 1700000000, Host: "localhost"}
}

// testVG has disks of a number of extents.
func testVG(t rapid.TB, name string, env Env, extents ...uint64) *VG {
	t.Helper()
	r := CreateVG{Name: name, ExtentSize: 128}
	for i, n := range extents {
		id, err := NewUUID(env.Rand)
		if err != nil {
			t.Fatal(err)
		}
		r.PVs = append(r.PVs, NewPV{ID: id, Device: fmt.Sprintf("/dev/%s%d", name, i), DevSize: 2048 + n*128, PEStart: 2048})
	}
	vg, _, err := NewVG(env, r)
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

func textOf(vg *VG) string { return string(vg.AppendText(nil, Stamp{Host: "h", Time: 1})) }

// checkVG holds a group to what must always be so: it is what its own text says, in every index.
func checkVG(t rapid.TB, vg *VG) {
	t.Helper()
	b := vg.AppendText(nil, Stamp{Host: "h", Time: 1})
	if got := vg.TextSize(Stamp{Host: "h", Time: 1}); got != len(b) {
		t.Fatalf("TextSize is %d, the text has %d bytes\n%s", got, len(b), b)
	}
	again, err := Parse(b)
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if d := cmp.Diff(string(b), textOf(again)); d != "" {
		t.Fatalf("what is read is not what was written:\n%s", d)
	}
	if d := cmp.Diff(indexes(again), indexes(vg)); d != "" {
		t.Fatalf("-as read +as changed\n%s", d)
	}
}

// indexes is everything that the group knows besides its text.
func indexes(vg *VG) []string {
	out := []string{fmt.Sprintln(vg.name, vg.id, vg.seqno, vg.extentSize, vg.maxLV, vg.maxPV, vg.copies, vg.status, vg.flags,
		vg.tags, vg.systemID, vg.lockType, vg.alloc, vg.total, vg.free, vg.visible, vg.unknown)}
	for i, pv := range vg.pvs {
		j, _ := vg.pvIDs.Get(pv.ID)
		out = append(out, fmt.Sprintln(pv.Key, pv.ID, pv.Device, pv.Status, pv.Flags, pv.Tags, pv.DevSize, pv.PEStart, pv.PECount,
			j, vg.spaces[i].unused))
		for start, n := range vg.spaces[i].free.All() {
			out = append(out, fmt.Sprintln(" free", start, n))
		}
		for r := range vg.spaces[i].bySize.All() {
			out = append(out, fmt.Sprintln(" by size", r))
		}
		for start, u := range vg.spaces[i].used.All() {
			out = append(out, fmt.Sprintln(" used", start, u.count, u.le, vg.bySeq(u.seq).Name, u.area))
		}
	}
	for lv := range vg.LVs() {
		byName, _ := vg.byName.Get(lv.Name)
		byID, _ := vg.byID.Get(lv.ID)
		out = append(out, fmt.Sprintln(lv.Name, lv.ID, lv.Status, lv.Flags, lv.Tags, lv.CreationTime, lv.CreationHost, lv.Allocation,
			lv.ReadAhead, lv.Major, lv.Minor, lv.Extents, lv.place.hidden, byName == lv, byID == lv))
		for _, s := range lv.Segments {
			out = append(out, fmt.Sprintln(" ", s.Start, s.Count, s.Type, s.Tags, s.Stripes, s.StripeSize, s.Known, s.Needs))
		}
	}
	out = append(out, fmt.Sprintln(vg.byName.Len(), vg.byID.Len(), vg.order.Len()))
	for u := range vg.users.All() {
		out = append(out, fmt.Sprintln(u))
	}
	for a := range vg.autos.All() {
		out = append(out, fmt.Sprintln(a))
	}
	return out
}

// checkOp holds an operation to what it must do: lead from one group to the other, also after it was stored, and also
// when it is applied twice.
func checkOp(t rapid.TB, before, after *VG, op Operation) {
	t.Helper()
	stored := op.Append(nil)
	parsed, err := ParseOperation(stored)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(parsed.Append(nil), stored) {
		t.Fatalf("stored as\n%q\nand then as\n%q", stored, parsed.Append(nil))
	}
	for _, o := range []Operation{op, parsed} {
		got, err := before.Replay(o)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(textOf(after), textOf(got)); d != "" {
			t.Fatalf("-after the request +after the operation\n%s", d)
		}
		if d := cmp.Diff(indexes(after), indexes(got)); d != "" {
			t.Fatalf("-after the request +after the operation\n%s", d)
		}
		twice, err := got.Replay(o)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(textOf(after), textOf(twice)); d != "" {
			t.Fatalf("-applied once +twice\n%s", d)
		}
	}
}

// TestRandomRequests makes random requests of every kind.
func TestRandomRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		env := testEnv(rapid.Uint64().Draw(t, "seed"))
		vg := testVG(t, "vg", env, rapid.SliceOfN(rapid.Uint64Range(1, 60), 1, 5).Draw(t, "disks")...)
		for i := range rapid.IntRange(0, 6).Draw(t, "LVs before") {
			r := CreateLV{Name: fmt.Sprint("old", i), Size: Extents(2), Hidden: rapid.Bool().Draw(t, "hidden")}
			if after, _, err := vg.CreateLV(env, r); err == nil {
				vg = after
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "LVs removed") {
			if after, _, err := vg.RemoveLV(drawName(t, vg)); err == nil {
				vg = after
			}
		}
		start, first := vg, textOf(vg)
		var ops []Operation
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			before, old := vg, textOf(vg)
			after, op, err := randomRequest(t, env, vg)
			if textOf(before) != old {
				t.Fatal("the old group has changed")
			}
			if err != nil {
				checkError(t, err)
				continue
			}
			if after.seqno != before.seqno+1 {
				t.Fatalf("seqno %d after %d", after.seqno, before.seqno)
			}
			checkVG(t, after)
			checkOp(t, before, after, op)
			vg, ops = after, append(ops, op)
		}
		// A program that starts anew reads the text and replays what was stored.
		again, err := Parse([]byte(first))
		for _, op := range ops {
			if err == nil {
				op, err = ParseOperation(op.Append(nil))
			}
			if err == nil {
				again, err = again.Replay(op)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(textOf(vg), textOf(again)); d != "" {
			t.Fatalf("-as it went +read and replayed\n%s", d)
		}
		checkVG(t, again)
		if len(ops) > 1 {
			joined, op, err := start.Join(ops...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(withoutSeqno(textOf(vg)), withoutSeqno(textOf(joined))); d != "" {
				t.Fatalf("-one by one +joined\n%s", d)
			}
			if joined.seqno != start.seqno+1 {
				t.Fatalf("seqno %d after %d", joined.seqno, start.seqno)
			}
			checkVG(t, joined)
			checkOp(t, start, joined, op)
		}
		if textOf(start) != first {
			t.Fatal("the first group has changed")
		}
	})
}

func withoutSeqno(s string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return strings.HasPrefix(l, "seqno") }), "\n")
}

var sentinels = []error{
	ErrInvalid, ErrNotFound, ErrExists, ErrNoSpace, ErrInUse, ErrReadOnly, ErrExported, ErrMissing, ErrUnknownSegment,
	ErrUnsupported, ErrLimit, ErrNoChange,
}

func checkError(t rapid.TB, err error) {
	t.Helper()
	if !slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) }) {
		t.Fatalf("a request is refused with %v", err)
	}
}

func drawPVs(t *rapid.T, vg *VG) (list []string) {
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "number of PVs") {
		s := rapid.SampledFrom(vg.pvs).Draw(t, "PV").Device
		if rapid.Bool().Draw(t, "range") {
			a := rapid.IntRange(0, 40).Draw(t, "from")
			s += fmt.Sprintf(":%d-%d", a, a+rapid.IntRange(0, 20).Draw(t, "extents"))
		}
		list = append(list, s)
	}
	return list
}

func drawName(t *rapid.T, vg *VG) string {
	names := []string{"none"}
	for lv := range vg.LVs() {
		names = append(names, lv.Name)
	}
	return rapid.SampledFrom(names).Draw(t, "LV")
}

func drawAmount(t *rapid.T) Amount {
	return Amount{
		Count: rapid.Uint64Range(0, 70).Draw(t, "count"),
		Of:    rapid.SampledFrom([]Of{OfNone, OfNone, OfNone, OfFree, OfVG, OfPVs, OfLV, OfOrigin}).Draw(t, "of"),
		Sign:  rapid.SampledFrom([]Sign{Plain, Plain, Plus, Minus}).Draw(t, "sign"),
	}
}

func randomRequest(t *rapid.T, env Env, vg *VG) (*VG, Operation, error) {
	yes := rapid.Bool().Draw(t, "yes")
	policy := rapid.SampledFrom([]Allocation{0, 0, 0, 1, 2, 3, 4, 5}).Draw(t, "policy")
	device := rapid.SampledFrom(vg.pvs).Draw(t, "device").Device
	switch rapid.IntRange(0, 20).Draw(t, "request") {
	default:
		r := CreateLV{
			Size: drawAmount(t), PVs: drawPVs(t, vg), Stripes: rapid.IntRange(0, 3).Draw(t, "stripes"), Allocation: policy,
			Type:   rapid.SampledFrom([]string{"", "", "", "linear", "striped", "zero", "error"}).Draw(t, "type"),
			Hidden: rapid.IntRange(0, 5).Draw(t, "hidden") == 0, ReadOnly: yes,
			Tags: rapid.SampledFrom([][]string{nil, {"a"}, {"b", "c"}}).Draw(t, "tags"),
		}
		return sameSlowly(t, env, func(env Env) (*VG, Operation, error) { return vg.CreateLV(env, r) })
	case 8, 9, 10, 11:
		r := ResizeLV{
			Name: drawName(t, vg), Size: drawAmount(t), PVs: drawPVs(t, vg), Allocation: policy,
			Mode:    ResizeMode(rapid.IntRange(0, 2).Draw(t, "mode")),
			Stripes: rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "stripes"),
			Type:    rapid.SampledFrom([]string{"", "", "", "striped", "zero"}).Draw(t, "type"),
		}
		return sameSlowly(t, env, func(env Env) (*VG, Operation, error) { return vg.ResizeLV(env, r) })
	case 12:
		return vg.RemoveLV(drawName(t, vg))
	case 13:
		return vg.RenameLV(drawName(t, vg), rapid.SampledFrom([]string{"x", "y", "lvol3", "z_tdata"}).Draw(t, "name"))
	case 14:
		r := ChangeLV{Name: drawName(t, vg), AddTags: []string{"q"}, AutoActivate: &yes}
		if rapid.Bool().Draw(t, "policy too") {
			r.Allocation, r.ReadOnly = &policy, &yes
		}
		return vg.ChangeLV(r)
	case 15:
		id, _ := NewUUID(env.Rand)
		n := rapid.Uint64Range(0, 50).Draw(t, "extents")
		return vg.AddPVs([]NewPV{{ID: id, Device: "/dev/" + id.String(), DevSize: 2048 + n*128, PEStart: 2048}})
	case 16:
		if yes {
			return vg.ReduceEmptyPVs()
		}
		return vg.ReducePVs([]string{device})
	case 17:
		return vg.ChangePV(env, ChangePV{Device: device, Allocatable: &yes, NewID: rapid.Bool().Draw(t, "new id")})
	case 18:
		n := rapid.Uint64Range(1, 70).Draw(t, "extents")
		return vg.ResizePV(ResizePV{Device: device, DevSize: 2048 + n*128})
	case 19:
		size := rapid.SampledFrom([]uint64{32, 64, 128, 256, 512}).Draw(t, "extent size")
		r := ChangeVG{AddTags: []string{"vt"}, NewID: yes}
		if yes {
			r.ExtentSize = &size
		} else {
			r.Allocation = &policy
		}
		return vg.Change(env, r)
	case 20:
		before := mapping(vg)
		after, op, copies, err := vg.MoveExtents(env, Move{Source: device, Targets: drawPVs(t, vg), Allocation: policy})
		if err == nil {
			checkMove(t, vg, before, mapping(after), copies)
		}
		return after, op, err
	}
}

// sameSlowly makes a request with and without the allocator's short cut.
func sameSlowly(t *rapid.T, env Env, request func(Env) (*VG, Operation, error)) (*VG, Operation, error) {
	seed := rapid.Uint64().Draw(t, "uuid")
	env.Rand = testEnv(seed).Rand
	after, op, err := request(env)
	env.Rand, env.slow = testEnv(seed).Rand, true
	slow, _, slowErr := request(env)
	if (err == nil) != (slowErr == nil) {
		t.Fatalf("quickly: %v, slowly: %v", err, slowErr)
	}
	if err == nil && textOf(after) != textOf(slow) {
		t.Fatalf("-quickly +slowly\n%s", cmp.Diff(textOf(after), textOf(slow)))
	}
	return after, op, err
}

// where is an extent of a physical volume.
type where struct {
	pv UUID
	pe Extent
}

// mapping is where every extent of every logical volume is: by volume, stripe and extent of the stripe.
func mapping(vg *VG) map[string]where {
	m := map[string]where{}
	for lv := range vg.LVs() {
		for _, s := range lv.Segments {
			for a, area := range s.Stripes {
				for i := range s.AreaLen() {
					le := s.Start + i*Extent(len(s.Stripes)) + Extent(a)
					m[fmt.Sprint(lv.Name, " ", le)] = where{vg.PV(area.PV).ID, area.Start + i}
				}
			}
		}
	}
	return m
}

// checkMove follows the copies: what an extent had must be where the group says it is now, and nothing was overwritten
// that somebody still needs.
func checkMove(t rapid.TB, vg *VG, before, after map[string]where, copies []Copy) {
	t.Helper()
	disk := map[where]string{}
	for le, w := range before {
		disk[w] = le
	}
	for _, c := range copies {
		for i := range c.Count {
			from, to := where{c.FromPV, c.FromStart + i}, where{c.ToPV, c.ToStart + i}
			if disk[from] == "" || disk[to] != "" {
				t.Fatalf("%v is copied over %v: %q over %q", from, to, disk[from], disk[to])
			}
			disk[to] = disk[from]
		}
	}
	for le, w := range after {
		if disk[w] != le {
			t.Fatalf("%s is at %v, where there is %q", le, w, disk[w])
		}
	}
	if len(before) != len(after) {
		t.Fatalf("%d extents before, %d after", len(before), len(after))
	}
}

// TestSplitAndMerge splits a group and merges it again.
func TestSplitAndMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		env := testEnv(rapid.Uint64().Draw(t, "seed"))
		vg := testVG(t, "vg", env, 20, 20, 20)
		for range rapid.IntRange(0, 6).Draw(t, "LVs") {
			r := CreateLV{Size: Extents(Extent(rapid.IntRange(1, 12).Draw(t, "size"))), PVs: drawPVs(t, vg)}
			if after, _, err := vg.CreateLV(env, r); err == nil {
				vg = after
			}
		}
		before := textOf(vg)
		d := rapid.SampledFrom(vg.pvs).Draw(t, "device").Device
		stay, op, other, otherOp, err := vg.Split(env, Split{Name: "other", PVs: []string{d}})
		if err != nil {
			checkError(t, err)
			return
		}
		checkVG(t, stay)
		checkVG(t, other)
		checkOp(t, vg, stay, op)
		if len(otherOp.PutPVs) != 1 || other.NumLVs()+stay.NumLVs() != vg.NumLVs() || other.total+stay.total != vg.total {
			t.Fatalf("%s\nis split into\n%s\nand\n%s", before, textOf(stay), textOf(other))
		}
		merged, op, err := stay.Merge(env, other)
		if err != nil {
			t.Fatal(err)
		}
		checkVG(t, merged)
		checkOp(t, stay, merged, op)
		if d := cmp.Diff(mapping(vg), mapping(merged), cmp.AllowUnexported(where{})); d != "" {
			t.Fatalf("-before +after\n%s", d)
		}
	})
}

// Sizes that no group can have are refused, whatever they would come to when a number overflows.
func TestHugeSizes(t *testing.T) {
	env := testEnv(1)
	vg := testVG(t, "vg", env, 10, 10)
	vg, _, err := vg.CreateLV(env, CreateLV{Name: "a", Size: Extents(4), Stripes: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint64{1<<64 - 1, 1<<64 - 2, 1 << 63, 1<<63 + 1, 1 << 40, 1<<32 + 1, 1<<32 - 1, 1<<32 - 2} {
		for _, size := range []Amount{{Count: n}, {Sectors: n}, {Sectors: n, Sign: Plus}, {Count: n, Sign: Plus}, {Count: n, Of: OfLV}} {
			for _, typ := range []string{"", "zero"} {
				if after, _, err := vg.CreateLV(env, CreateLV{Size: size, Type: typ, Stripes: 2}); err == nil {
					checkSize(t, after, after.LV("lvol0"), size)
				}
				if after, _, err := vg.ResizeLV(env, ResizeLV{Name: "a", Size: size, Type: typ}); err == nil {
					checkSize(t, after, after.LV("a"), size)
				}
			}
		}
	}
}

// checkSize is for sizes that only volumes without extents of their own can have.
func checkSize(t *testing.T, vg *VG, lv *LV, size Amount) {
	t.Helper()
	if want := size.Count + size.Sectors/vg.extentSize; size.Of == OfNone && uint64(lv.Extents) < want {
		t.Errorf("%+v gives %d extents", size, lv.Extents)
	}
	checkVG(t, vg)
}
