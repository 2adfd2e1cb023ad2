package lvm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"morgana/block"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/redo"
)

// redoRig is a group with a redo log on disks in memory.
type redoRig struct {
	t     testing.TB
	env   metadata.Env
	disks []lvm.Disk
	o     lvm.RedoOptions
	seen  func(*metadata.VG) // called with each state that was committed
}

func newRedoRig(t testing.TB, disks, size int, areaSize uint64, logs int) *redoRig {
	t.Helper()
	r := &redoRig{t: t, env: metadata.Env{Rand: seeded(1), Now: 1_700_000_000, Host: "host"}}
	r.o = lvm.RedoOptions{Rand: seeded(2), KeepPending: true}
	for i := range disks {
		r.disks = append(r.disks, lvm.Disk{Name: fmt.Sprintf("/dev/d%d", i), Device: block.NewMem(int64(size), 512)})
	}
	r.create(areaSize, logs)
	return r
}

func seeded(n uint64) *rand.ChaCha8 {
	var seed [32]byte
	seed[0] = byte(n)
	return rand.NewChaCha8(seed)
}

func (r *redoRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *redoRig) create(areaSize uint64, logs int) {
	r.t.Helper()
	ctx := context.Background()
	var pvs []*lvm.PhysicalVolume
	var news []metadata.NewPV
	for _, d := range r.disks {
		pv, err := lvm.CreatePV(ctx, d, lvm.PVOptions{Rand: r.env.Rand, AreaSize: areaSize})
		r.must(err)
		pvs, news = append(pvs, pv), append(news, pv.New())
	}
	vg, _, err := metadata.NewVG(r.env, metadata.CreateVG{Name: "vg", ExtentSize: 128, PVs: news})
	r.must(err)
	g, err := lvm.CreateGroup(ctx, vg, pvs, nil)
	r.must(err)
	r.must(g.EnableLog(ctx, r.env, metadata.AddRedoLog{Size: 256, Replicas: logs}, r.o))
	r.must(g.Close(ctx))
}

func (r *redoRig) scan() *lvm.FoundGroup {
	r.t.Helper()
	inv, err := lvm.Scan(context.Background(), r.disks, lvm.ScanOptions{})
	r.must(err)
	f, err := inv.Group("vg")
	r.must(err)
	return f
}

func (r *redoRig) tryOpen(mode lvm.Mode) (*lvm.Group, error) {
	r.t.Helper()
	inv, err := lvm.Scan(context.Background(), r.disks, lvm.ScanOptions{})
	r.must(err)
	return inv.Open("vg", lvm.OpenOptions{Mode: mode, Redo: r.o})
}

func (r *redoRig) open() *lvm.Group {
	r.t.Helper()
	g, err := r.tryOpen(lvm.ReadWrite)
	r.must(err)
	return g
}

// lvcreate makes a volume of an extent.
func (r *redoRig) lvcreate(g *lvm.Group, name string) error {
	after, op, err := g.VG().CreateLV(r.env, metadata.CreateLV{Name: name, Size: metadata.Extents(1)})
	if err != nil {
		return err
	}
	return r.commit(g, after, op)
}

func (r *redoRig) commit(g *lvm.Group, after *metadata.VG, op metadata.Operation) error {
	err := g.Commit(context.Background(), after, op)
	if err == nil && r.seen != nil {
		r.seen(g.VG())
	}
	return err
}

func (r *redoRig) lvremove(g *lvm.Group, name string) error {
	after, op, err := g.VG().RemoveLV(name)
	if err != nil {
		return err
	}
	return r.commit(g, after, op)
}

// names are the visible volumes.
func names(vg *metadata.VG) string {
	var out []string
	for lv := range vg.LVs() {
		if lv.Visible() {
			out = append(out, lv.Name)
		}
	}
	return strings.Join(out, " ")
}

func (r *redoRig) want(vg *metadata.VG, want string) {
	r.t.Helper()
	if got := names(vg); got != want {
		r.t.Fatalf("volumes %q, want %q", got, want)
	}
}

// The life of a group with a log: LVM2's, armed, found again, folded, LVM2's.
func TestRedoLog(t *testing.T) {
	ctx := context.Background()
	r := newRedoRig(t, 2, 16<<20, 0, 1)
	if f := r.scan(); f.Log == nil || f.Log.Armed || f.VG.Armed() || !f.VG.Writable() {
		t.Fatalf("a new log: %+v", f.Log)
	}
	g := r.open()
	r.must(r.lvcreate(g, "a")) // as text, which arms
	if n := g.Pending(); n != 0 {
		t.Errorf("pending after arming: %d", n)
	}
	r.must(r.lvcreate(g, "b"))
	r.must(r.lvcreate(g, "c"))
	r.must(r.lvremove(g, "a"))
	if n := g.Pending(); n != 3 {
		t.Errorf("pending: %d", n)
	}
	seqno := g.VG().Seqno()
	// The program dies here. The text has a, and LVM2 may not touch it.
	f := r.scan()
	text := f.Log.Text
	r.want(text, "a")
	if !text.Armed() || text.Writable() || text.SystemID() == "" {
		t.Errorf("armed %v, writable %v, system id %q", text.Armed(), text.Writable(), text.SystemID())
	}
	r.want(f.VG, "b c")
	if f.Log.Pending != 3 || f.Log.Err != nil || f.VG.Seqno() != seqno || f.VG.Armed() {
		t.Errorf("found: %+v, seqno %d, want %d", f.Log, f.VG.Seqno(), seqno)
	}
	if rs := f.Log.Records(); len(rs) != 3 || !rs[0].Pending || rs[0].Err != nil || rs[0].Operation.PutLVs[0].Name != "b" {
		t.Errorf("records: %+v", rs)
	}
	ro, err := r.tryOpen(lvm.ReadOnly)
	r.must(err)
	r.want(ro.VG(), "b c")

	g = r.open()
	r.want(g.VG(), "b c")
	r.must(r.lvcreate(g, "d"))
	r.must(g.Sync(ctx))
	if g.Pending() != 0 || g.VG().Seqno() != seqno+1 {
		t.Errorf("after sync: %d pending, seqno %d, want %d", g.Pending(), g.VG().Seqno(), seqno+1)
	}
	f = r.scan()
	r.want(f.Log.Text, "b c d")
	if f.Log.Armed || !f.VG.Writable() || f.VG.SystemID() != "" || len(f.VG.Tags()) != 0 {
		t.Errorf("disarmed: %+v, tags %q", f.Log, f.VG.Tags())
	}
	// Armed, and disarmed with nothing in the log: the text must be newer than the armed one.
	r.must(r.lvcreate(g, "e"))
	r.must(g.Sync(ctx))
	if f = r.scan(); f.Log.Armed || f.VG.Seqno() != seqno+3 {
		t.Errorf("seqno %d, want %d", f.VG.Seqno(), seqno+3)
	}
	r.must(g.DisableLog(ctx))
	if f = r.scan(); f.Log != nil || len(f.VG.RedoLogs()) != 0 {
		t.Errorf("the log is still there: %+v", f.Log)
	}
	r.must(r.lvremove(g, "e"))
	r.want(r.scan().VG, "b c d")
	r.must(g.Close(ctx))
}

// A group that is opened again numbers its volumes anew. That must not confuse what the log has of their places.
func TestRedoKeepsOrder(t *testing.T) {
	r := newRedoRig(t, 1, 16<<20, 0, 1)
	g := r.open()
	for _, n := range []string{"a", "b", "c", "d"} {
		r.must(r.lvcreate(g, n))
	}
	r.must(g.Sync(context.Background()))
	r.must(r.lvremove(g, "a"))
	r.must(r.lvcreate(g, "e"))
	g = r.open()
	for _, n := range []string{"d", "b"} {
		after, op, err := g.VG().ChangeLV(metadata.ChangeLV{Name: n, AddTags: []string{"x"}})
		r.must(err)
		r.must(g.Commit(context.Background(), after, op))
	}
	r.want(g.VG(), "b c d e")
	r.want(r.scan().VG, "b c d e")
}

// Other changes than those of logical volumes are LVM2's to see at once.
func TestRedoTextChanges(t *testing.T) {
	r := newRedoRig(t, 1, 16<<20, 0, 1)
	g := r.open()
	r.must(r.lvcreate(g, "a"))
	r.must(r.lvcreate(g, "b"))
	after, op, err := g.VG().Change(r.env, metadata.ChangeVG{AddTags: []string{"tag"}})
	r.must(err)
	r.must(g.Commit(context.Background(), after, op))
	f := r.scan()
	r.want(f.Log.Text, "a b")
	if f.Log.Armed || strings.Join(f.VG.Tags(), " ") != "tag" {
		t.Errorf("armed %v, tags %q", f.Log.Armed, f.VG.Tags())
	}
	r.must(r.lvcreate(g, "c"))
	if f = r.scan(); !f.Log.Armed || strings.Join(f.VG.Tags(), " ") != "tag" {
		t.Errorf("armed again: %v, tags %q", f.Log.Armed, f.VG.Tags())
	}
}

// Changes go on while the log is folded in the background, and nothing is lost however often it wraps.
func TestRedoFoldsInBackground(t *testing.T) {
	r := newRedoRig(t, 1, 32<<20, 0, 1)
	g := r.open()
	var want []string
	for i := range 600 {
		name := fmt.Sprintf("v%d", i)
		r.must(r.lvcreate(g, name))
		if i%2 == 1 {
			r.must(r.lvremove(g, fmt.Sprintf("v%d", i-1)))
			want = append(want, name)
		}
		if i%97 == 0 {
			if n := r.scan().VG.NumVisible(); n != g.VG().NumVisible() {
				t.Fatalf("after %d: %d volumes on disk, %d in memory", i, n, g.VG().NumVisible())
			}
		}
	}
	r.must(g.Close(context.Background())) // waits
	f := r.scan()
	r.want(f.VG, strings.Join(want, " "))
	if f.Log.Pending >= 400 {
		t.Errorf("never folded: %d pending", f.Log.Pending)
	}
	g = r.open()
	r.must(g.Sync(context.Background()))
	r.want(r.scan().Log.Text, strings.Join(want, " "))
}

// The log is folded when nobody changed anything for a while.
func TestRedoFoldsWhenIdle(t *testing.T) {
	r := newRedoRig(t, 1, 16<<20, 0, 1)
	var idle func()
	var waited time.Duration
	r.o.After = func(d time.Duration, f func()) func() bool {
		idle, waited = f, d
		return func() bool { idle = nil; return true }
	}
	g := r.open()
	r.must(r.lvcreate(g, "a"))
	r.must(r.lvcreate(g, "b"))
	if idle == nil || waited != 2*time.Minute {
		t.Fatalf("waits %v", waited)
	}
	late := idle
	r.must(r.lvcreate(g, "c"))
	late() // too late: there was a change
	if n := g.Pending(); n != 2 {
		t.Fatalf("pending %d", n)
	}
	idle()
	r.must(g.Close(context.Background()))
	f := r.scan()
	r.want(f.Log.Text, "a b c")
	if f.Log.Pending != 0 {
		t.Errorf("pending %d", f.Log.Pending)
	}
}

func TestRedoClose(t *testing.T) {
	r := newRedoRig(t, 1, 16<<20, 0, 1)
	r.o.KeepPending = false
	g := r.open()
	r.must(r.lvcreate(g, "a"))
	r.must(r.lvcreate(g, "b"))
	r.must(g.Close(context.Background()))
	if f := r.scan(); f.Log.Armed {
		t.Error("armed after a clean close")
	} else {
		r.want(f.Log.Text, "a b")
	}
}

// A change that the text could never hold is refused when it is made, not when it is folded.
func TestRedoAdmission(t *testing.T) {
	r := newRedoRig(t, 1, 64<<20, 32<<10, 1)
	g := r.open()
	n, long := 0, strings.Repeat("t", 1000)
	var err error
	for ; n < 2000 && err == nil; n++ {
		var after *metadata.VG
		var op metadata.Operation
		after, op, err = g.VG().CreateLV(r.env, metadata.CreateLV{
			Name: fmt.Sprintf("v%d", n), Size: metadata.Extents(1), Tags: []string{long + fmt.Sprint(n)},
		})
		r.must(err)
		err = g.Commit(context.Background(), after, op)
	}
	if !errors.Is(err, metadata.ErrLimit) || !strings.Contains(err.Error(), "exceeds maximum metadata size") {
		t.Fatalf("after %d volumes: %v", n, err)
	}
	have := g.VG().NumVisible()
	r.must(g.Sync(context.Background()))
	if f := r.scan(); f.Log.Armed || f.VG.NumVisible() != have {
		t.Errorf("folded: %d volumes, want %d", f.VG.NumVisible(), have)
	}
}

// Somebody restores an old text over a group with pending changes: that is told, and nothing is done before a word.
func TestRedoBrokenLineage(t *testing.T) {
	r := newRedoRig(t, 1, 16<<20, 0, 1)
	g := r.open()
	r.must(r.lvcreate(g, "a"))
	r.must(g.Sync(context.Background()))
	const areaEnd = 1 << 20
	old := make([]byte, areaEnd)
	_, _ = r.disks[0].Device.ReadAt(old, 0)
	r.must(r.lvcreate(g, "b"))
	r.must(r.lvcreate(g, "c"))
	armed := make([]byte, areaEnd)
	_, _ = r.disks[0].Device.ReadAt(armed, 0)
	for _, c := range []struct {
		name string
		text []byte
		want string
	}{
		{"not armed", old, "a"},
		{"armed, seqno of elsewhere", armed, "a b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := r.disks[0].Device.(*block.Mem).Clone()
			_, _ = mem.WriteAt(c.text, 0)
			q := &redoRig{t: t, env: r.env, o: r.o, disks: []lvm.Disk{{Name: r.disks[0].Name, Device: mem}}}
			if c.text[0] == armed[0] && strings.HasPrefix(c.name, "armed") {
				q.rewrite(func(vg *metadata.VG) *metadata.VG { return vg.WithLogState(vg.LogPosition(), true, vg.Seqno()+1) })
			}
			if _, err := q.tryOpen(lvm.ReadWrite); !errors.Is(err, lvm.ErrLog) || !errors.Is(err, redo.ErrBrokenLineage) && !strings.Contains(err.Error(), "does not continue") {
				t.Fatalf("open: %v", err)
			}
			g, err := q.tryOpen(lvm.ReadOnly)
			q.must(err)
			q.want(g.VG(), c.want)
			inv, err := lvm.Scan(context.Background(), q.disks, lvm.ScanOptions{})
			q.must(err)
			q.must(inv.DiscardLog(context.Background(), "vg", lvm.OpenOptions{Mode: lvm.ReadWrite, Redo: q.o}))
			g = q.open()
			q.want(g.VG(), c.want)
			q.must(q.lvcreate(g, "z"))
			q.must(q.lvcreate(g, "y"))
			q.want(q.scan().VG, c.want+" z y")
			inv, err = lvm.Scan(context.Background(), q.disks, lvm.ScanOptions{})
			q.must(err)
			if err := inv.DiscardLog(context.Background(), "vg", lvm.OpenOptions{Mode: lvm.ReadWrite, Redo: q.o}); !errors.Is(err, metadata.ErrNoChange) {
				t.Errorf("discarded a log that is in order: %v", err)
			}
		})
	}
}

// rewrite commits a text behind the log's back.
func (r *redoRig) rewrite(change func(*metadata.VG) *metadata.VG) {
	r.t.Helper()
	r.must(lvm.RewriteText(context.Background(), r.disks, "vg", change))
}

// A log on two disks survives either of them.
func TestRedoReplicas(t *testing.T) {
	r := newRedoRig(t, 2, 16<<20, 0, 2)
	g := r.open()
	if n := len(g.VG().RedoLogs()); n != 2 {
		t.Fatalf("%d replicas", n)
	}
	r.must(r.lvcreate(g, "a"))
	r.must(r.lvcreate(g, "b"))
	all := r.disks
	for i := range all {
		r.disks = all[i : i+1]
		r.want(r.scan().VG, "a b")
	}
	r.disks = all
	g = r.open()
	r.must(g.Sync(context.Background()))
	r.want(r.scan().Log.Text, "a b")
}

// What an append costs does not grow with the group.
func TestRedoCost(t *testing.T) {
	r := newRedoRig(t, 1, 64<<20, 4<<20, 1)
	counted := &counter{Device: r.disks[0].Device}
	r.disks[0].Device = counted
	g := r.open()
	for i := range 300 {
		r.must(r.lvcreate(g, fmt.Sprintf("v%d", i)))
	}
	r.must(g.Sync(context.Background()))
	r.must(r.lvcreate(g, "arm"))
	counted.bytes.Store(0)
	counted.flushes.Store(0)
	r.must(r.lvcreate(g, "x"))
	if b, f := counted.bytes.Load(), counted.flushes.Load(); b != 512 || f != 1 {
		t.Errorf("%d bytes and %d flushes for a change", b, f)
	}
}

type counter struct {
	block.Device
	bytes, flushes atomic.Int64
}

func (c *counter) WriteAt(p []byte, off int64) (int, error) {
	c.bytes.Add(int64(len(p)))
	return c.Device.WriteAt(p, off)
}

func (c *counter) Flush() error { c.flushes.Add(1); return c.Device.Flush() }
