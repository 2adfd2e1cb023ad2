package extents

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/metadata"
	"morgana/tests/lvm/oracle"
)

// TestSameAsLVM2 makes random changes. SEED repeats a run, SOAK makes it as long as it says.
func TestSameAsLVM2(t *testing.T) {
	if testing.Short() {
		t.Skip("runs lvm2 many times")
	}
	seed, runs, steps := uint64(time.Now().UnixNano()), 4, 60
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
		runs = 1
	}
	soak, _ := time.ParseDuration(os.Getenv("SOAK"))
	end := time.Now().Add(soak)
	total, done := 0, 0
	for i := 0; i < runs || time.Now().Before(end); i++ {
		w := walk{t: t, rand: rand.New(rand.NewPCG(seed+uint64(i), 0)), o: oracle.New(t)}
		t.Logf("SEED=%d", seed+uint64(i))
		a, b := w.run(steps)
		total, done = total+a, done+b
		if t.Failed() {
			break
		}
	}
	t.Logf("%d commands, %d of them changed something; the same here and in lvm2", total, done)
}

type walk struct {
	t     *testing.T
	rand  *rand.Rand
	o     *oracle.Oracle
	disks []oracle.Disk
	vg    *metadata.VG
	conf  string // for --config
	env   metadata.Env
}

// command is a command line of lvm2 and the same request.
type command struct {
	args    []string
	request func() (*metadata.VG, metadata.Operation, error)
}

func (w *walk) run(steps int) (total, changed int) {
	n := 2 + w.rand.IntN(5)
	w.disks = w.o.Disks(n, 8<<20)
	args := []string{"vgcreate", "-s", "64k", "vg"}
	for _, d := range w.disks {
		args = append(args, d.Path)
	}
	w.o.Must(args...)
	w.env = metadata.Env{Rand: endless{w.rand}, Now: time.Now().Unix(), Host: "localhost"}
	switch w.rand.IntN(4) {
	case 0:
		w.env.NoMaximiseCling = true
		w.conf = "allocation{maximise_cling=0}"
	case 1:
		w.env.ClingTags = []string{"@red", "@blue"}
		w.conf = `allocation{cling_tag_list=["@red","@blue"]}`
	case 2:
		w.env.ClingTags = []string{"@*"}
		w.conf = `allocation{cling_tag_list=["@*"]}`
	}
	for _, d := range w.disks {
		if w.rand.IntN(2) == 0 {
			w.o.Must("pvchange", "--addtag", w.pick("red", "blue", "green"), d.Path)
		}
	}
	w.vg = w.read()
	for i := range steps {
		c := w.next(i)
		if c.args == nil {
			continue
		}
		total++
		if w.conf != "" {
			c.args = append(c.args, "--config", w.conf)
		}
		if w.compare(c) {
			changed++
		}
		if w.t.Failed() {
			return total, changed
		}
	}
	return total, changed
}

// read parses what lvm2 wrote to its backup file.
func (w *walk) read() *metadata.VG {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.o.BackupDir(), "vg"))
	if err != nil {
		w.t.Fatal(err)
	}
	vg, err := metadata.Parse(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return vg
}

// compare runs a command both ways and reports whether it changed anything.
func (w *walk) compare(c command) bool {
	w.t.Helper()
	after, op, err := c.request()
	r := w.o.Run(c.args...)
	line := strings.Join(c.args, " ")
	said := lines(r.Stdout + r.Stderr)
	if (r.Code == 0) != (err == nil) && !(errors.Is(err, metadata.ErrNoChange) && r.Code == 0) {
		w.t.Errorf("%s\nlvm2: exit code %d, %q\nhere: %v", line, r.Code, said, err)
		return false
	}
	for _, note := range append(op.Notes, op.Warnings...) {
		if !slices.Contains(said, note) {
			w.t.Errorf("%s\nlvm2 says %q\nhere, not among it: %q", line, said, note)
		}
	}
	if err != nil {
		for _, l := range strings.Split(err.Error(), "\n") {
			if !slices.Contains(said, l) {
				w.t.Errorf("%s\nlvm2 says %q\nhere, not among it: %q", line, said, l)
			}
		}
		if r.Code != 0 {
			return false
		}
		after = w.vg
	}
	real := w.read()
	if d := cmp.Diff(picture(real), picture(after)); d != "" {
		w.t.Errorf("%s\n-lvm2 +here\n%s", line, d)
	}
	w.vg = real
	return true
}

func lines(s string) (out []string) {
	for l := range strings.Lines(s) {
		out = append(out, strings.TrimSpace(l))
	}
	return out
}

// After pvresize LVM2 has in dev_size what is left of the device for extents, until it is told the size anew: not here.
var unlike = regexp.MustCompile(`^\s*(id|creation_time|creation_host|description|dev_size) = .*|^#.*|^$`)

// picture is the text without what is chosen at random or by the clock, and with physical volumes numbered anew, which
// lvm2 does whenever it writes.
func picture(vg *metadata.VG) (out []string) {
	var keys []string
	for i, pv := range vg.PVs() {
		keys = append(keys, pv.Key+" {", fmt.Sprintf("pv%d {", i), fmt.Sprintf("%q,", pv.Key), fmt.Sprintf("\"pv%d\",", i))
	}
	number := strings.NewReplacer(keys...)
	lv := ""
	for l := range strings.Lines(string(vg.AppendText(nil, metadata.Stamp{}))) {
		l = number.Replace(strings.TrimSuffix(l, "\n"))
		if strings.HasSuffix(l, " {") {
			lv = l
		}
		if !unlike.MatchString(l) && !(strings.HasPrefix(l, "seqno") && lv == "vg {") {
			out = append(out, l)
		}
	}
	return out
}

// endless makes a reader of a source of random numbers.
type endless struct{ *rand.Rand }

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e.Uint32())
	}
	return len(b), nil
}

func (w *walk) pick(s ...string) string { return s[w.rand.IntN(len(s))] }

func (w *walk) lv() *metadata.LV {
	var all []*metadata.LV
	for lv := range w.vg.LVs() {
		all = append(all, lv)
	}
	if len(all) == 0 {
		return nil
	}
	return all[w.rand.IntN(len(all))]
}

func (w *walk) policy() metadata.Allocation {
	if w.rand.IntN(3) > 0 {
		return metadata.AllocInherit
	}
	return metadata.Allocation(1 + w.rand.IntN(5))
}

// where picks physical volumes, mostly none, sometimes with ranges.
func (w *walk) where() (pvs []string) {
	if w.rand.IntN(3) > 0 {
		return nil
	}
	for _, i := range w.rand.Perm(len(w.disks))[:1+w.rand.IntN(len(w.disks))] {
		s := w.disks[i].Path
		for range w.rand.IntN(3) {
			a := w.rand.IntN(112)
			switch w.rand.IntN(4) {
			case 0:
				s += fmt.Sprintf(":%d-%d", a, a+w.rand.IntN(112-a))
			case 1:
				s += fmt.Sprintf(":%d-", a)
			case 2:
				s += fmt.Sprintf(":-%d", a)
			case 3:
				s += fmt.Sprintf(":%d+%d", a, w.rand.IntN(112-a))
			}
		}
		pvs = append(pvs, s)
	}
	if w.rand.IntN(4) == 0 {
		pvs = append(pvs, "@"+w.pick("red", "blue", "green"))
	}
	return pvs
}

func (w *walk) next(i int) command {
	switch n := w.rand.IntN(25); {
	case n > 20:
		return w.group()
	case n < 8:
		return w.create(i)
	case n < 13:
		return w.resize()
	case n < 16:
		return w.remove()
	case n < 17:
		return w.pvchange()
	case n < 18:
		return w.change()
	case n < 19:
		return w.vgchange()
	default:
		return w.rename(i)
	}
}

func (w *walk) amount() (string, metadata.Amount) {
	switch w.rand.IntN(8) {
	case 0:
		p := uint64(1 + w.rand.IntN(120))
		return fmt.Sprintf("-l%d%%FREE", p), metadata.Percent(p, metadata.OfFree)
	case 1:
		p := uint64(1 + w.rand.IntN(60))
		return fmt.Sprintf("-l%d%%VG", p), metadata.Percent(p, metadata.OfVG)
	case 2:
		p := uint64(1 + w.rand.IntN(110))
		return fmt.Sprintf("-l%d%%PVS", p), metadata.Percent(p, metadata.OfPVs)
	case 3:
		kib := uint64(1+w.rand.IntN(8000)) * 4
		return fmt.Sprintf("-L%dk", kib), metadata.Sectors(kib * 2)
	default:
		n := uint64(1 + w.rand.IntN([]int{5, 40, 200, 500}[w.rand.IntN(4)]))
		return fmt.Sprintf("-l%d", n), metadata.Extents(metadata.Extent(n))
	}
}

// group is a change of which disks the group has, and how large they are.
func (w *walk) group() command {
	d := w.disks[w.rand.IntN(len(w.disks))].Path
	member := w.vg.PVByDevice(d) != nil
	switch n := w.rand.IntN(4); {
	case member && n == 0:
		return command{
			[]string{"vgreduce", "vg", d},
			func() (*metadata.VG, metadata.Operation, error) { return w.vg.ReducePVs([]string{d}) },
		}
	case !member:
		w.o.Must("pvresize", d)
		// Only what LVM2 would see on the label is known of a disk that is not in the group.
		n := metadata.NewPV{ID: metadata.UUID([]byte(strings.Repeat("x", 32))), Device: d, DevSize: 16384, PEStart: 2048}
		return command{
			[]string{"vgextend", "vg", d},
			func() (*metadata.VG, metadata.Operation, error) { return w.vg.AddPVs([]metadata.NewPV{n}) },
		}
	case n == 1:
		sectors := uint64(8192 + w.rand.IntN(8192))
		return command{
			[]string{"pvresize", "-y", "--setphysicalvolumesize", fmt.Sprintf("%ds", sectors), d},
			func() (*metadata.VG, metadata.Operation, error) {
				return w.vg.ResizePV(metadata.ResizePV{Device: d, DevSize: sectors})
			},
		}
	default:
		return command{
			[]string{"pvresize", d},
			func() (*metadata.VG, metadata.Operation, error) {
				return w.vg.ResizePV(metadata.ResizePV{Device: d, DevSize: 16384})
			},
		}
	}
}

func (w *walk) create(i int) command {
	size, amount := w.amount()
	r := metadata.CreateLV{Size: amount, PVs: w.where(), Allocation: w.policy()}
	args := []string{"lvcreate", "-an", "-Zn", "-Wn", size}
	if w.rand.IntN(3) > 0 {
		r.Name = fmt.Sprintf("v%d", i)
		args = append(args, "-n", r.Name)
	}
	switch w.rand.IntN(8) {
	case 0, 1, 2:
		r.Stripes = 1 + w.rand.IntN(len(w.disks)+1)
		args = append(args, "-i", strconv.Itoa(r.Stripes))
		if w.rand.IntN(2) == 0 {
			r.StripeSize = 4 << w.rand.IntN(7)
			args = append(args, "-I", fmt.Sprintf("%dk", r.StripeSize/2))
		}
	case 3:
		if w.rand.IntN(3) == 0 {
			r.Type = w.pick("zero", "error")
			args = append(args[:1], "-an", size, "--type", r.Type)
			if r.Name != "" {
				args = append(args, "-n", r.Name)
			}
			r.PVs = nil
		}
	}
	if r.Allocation != metadata.AllocInherit {
		args = append(args, "--alloc", r.Allocation.String())
	}
	if w.rand.IntN(6) == 0 {
		r.Tags = []string{"a/b", "c"}
		args = append(args, "--addtag", "a/b", "--addtag", "c")
	}
	if w.rand.IntN(8) == 0 {
		r.ReadOnly = true
		args = append(args, "-pr")
	}
	if w.rand.IntN(8) == 0 {
		r.ReadAhead = 256
		args = append(args, "-r", "256")
	}
	if w.rand.IntN(8) == 0 {
		r.NoAutoActivate = true
		args = append(args, "--setautoactivation", "n")
	}
	if w.rand.IntN(8) == 0 {
		r.ActivationSkip = true
		args = append(args, "-ky")
	}
	args = append(append(args, "vg"), r.PVs...)
	return command{args, func() (*metadata.VG, metadata.Operation, error) { return w.vg.CreateLV(w.env, r) }}
}

func (w *walk) resize() command {
	lv := w.lv()
	if lv == nil {
		return command{}
	}
	size, amount := w.amount()
	r := metadata.ResizeLV{Name: lv.Name, Size: amount, Mode: metadata.ResizeMode(w.rand.IntN(3))}
	if w.rand.IntN(6) == 0 {
		p := uint64(1 + w.rand.IntN(250))
		size, r.Size = fmt.Sprintf("-l%d%%LV", p), metadata.Percent(p, metadata.OfLV)
	}
	switch w.rand.IntN(3) {
	case 0:
		if r.Mode != metadata.Reduce {
			r.Size.Sign = metadata.Plus
			size = size[:2] + "+" + size[2:]
		}
	case 1:
		if r.Mode != metadata.Extend {
			r.Size.Sign = metadata.Minus
			size = size[:2] + "-" + size[2:]
		}
	}
	args := []string{[]string{"lvresize", "lvextend", "lvreduce"}[r.Mode], "-f", size}
	if r.Mode != metadata.Reduce {
		r.PVs = w.where()
		if w.rand.IntN(4) == 0 {
			r.Stripes = 1 + w.rand.IntN(len(w.disks))
			args = append(args, "-i", strconv.Itoa(r.Stripes))
		}
		if r.Allocation = w.policy(); r.Allocation != metadata.AllocInherit {
			args = append(args, "--alloc", r.Allocation.String())
		}
	}
	if r.Mode == metadata.Extend {
		args = slices.Delete(args, 1, 2)
		if w.rand.IntN(8) == 0 {
			r.Type = w.pick("zero", "error", "striped")
			args = append(args, "--type", r.Type)
		}
		if w.rand.IntN(8) == 0 && len(r.PVs) > 0 {
			r.Size = metadata.Amount{} // all that is free there
			args = slices.DeleteFunc(args, func(a string) bool { return a == size })
		}
	}
	args = append(append(args, "vg/"+lv.Name), r.PVs...)
	return command{args, func() (*metadata.VG, metadata.Operation, error) { return w.vg.ResizeLV(w.env, r) }}
}

func (w *walk) remove() command {
	lv := w.lv()
	if lv == nil {
		return command{}
	}
	return command{
		[]string{"lvremove", "-f", "vg/" + lv.Name},
		func() (*metadata.VG, metadata.Operation, error) { return w.vg.RemoveLV(lv.Name) },
	}
}

func (w *walk) rename(i int) command {
	lv := w.lv()
	if lv == nil {
		return command{}
	}
	to := w.pick(fmt.Sprintf("w%d", i), lv.Name, "lvol7", "a_tdata", "snapshot1", "x y", strings.Repeat("n", 125), "v3")
	return command{
		[]string{"lvrename", "vg", lv.Name, to},
		func() (*metadata.VG, metadata.Operation, error) { return w.vg.RenameLV(lv.Name, to) },
	}
}

func (w *walk) pvchange() command {
	pvs := w.vg.PVs()
	r := metadata.ChangePV{Device: pvs[w.rand.IntN(len(pvs))].Device}
	args := []string{"pvchange"}
	if tag := w.pick("red", "blue", "green"); w.rand.IntN(2) == 0 {
		if w.rand.IntN(2) == 0 {
			r.AddTags, args = []string{tag}, append(args, "--addtag", tag)
		} else {
			r.DelTags, args = []string{tag}, append(args, "--deltag", tag)
		}
	} else {
		on := w.rand.IntN(3) > 0
		r.Allocatable = &on
		args = append(args, map[bool]string{true: "-xy", false: "-xn"}[on])
	}
	return command{append(args, r.Device), func() (*metadata.VG, metadata.Operation, error) { return w.vg.ChangePV(w.env, r) }}
}

func (w *walk) change() command {
	lv := w.lv()
	if lv == nil {
		return command{}
	}
	r := metadata.ChangeLV{Name: lv.Name}
	var args []string
	on := w.rand.IntN(2) == 0
	switch w.rand.IntN(6) {
	case 0:
		r.AddTags, args = []string{"t1", "a/b"}, []string{"--addtag", "t1", "--addtag", "a/b"}
	case 1:
		r.DelTags, args = []string{"a/b"}, []string{"--deltag", "a/b"}
	case 2:
		r.ReadOnly, args = &on, []string{map[bool]string{true: "-pr", false: "-prw"}[on]}
	case 3:
		a := metadata.Allocation(w.rand.IntN(6))
		r.Allocation, args = &a, []string{"--alloc", a.String()}
	case 4:
		r.AutoActivate, args = &on, []string{"--setautoactivation", map[bool]string{true: "y", false: "n"}[on]}
	case 5:
		r.ActivationSkip, args = &on, []string{map[bool]string{true: "-ky", false: "-kn"}[on]}
	}
	return command{
		append(append([]string{"lvchange"}, args...), "vg/"+lv.Name),
		func() (*metadata.VG, metadata.Operation, error) { return w.vg.ChangeLV(r) },
	}
}

func (w *walk) vgchange() command {
	r := metadata.ChangeVG{}
	var args []string
	on := w.rand.IntN(2) == 0
	switch w.rand.IntN(8) {
	case 0:
		a := metadata.Allocation(w.rand.IntN(6))
		r.Allocation, args = &a, []string{"--alloc", a.String()}
	case 1:
		n := uint32(w.rand.IntN(30))
		r.MaxLV, args = &n, []string{"-l", strconv.Itoa(int(n))}
	case 2:
		n := uint32(w.rand.IntN(10))
		r.MaxPV, args = &n, []string{"-p", strconv.Itoa(int(n))}
	case 3:
		r.AddTags, args = []string{"x"}, []string{"--addtag", "x"}
	case 4:
		r.DelTags, args = []string{"x"}, []string{"--deltag", "x"}
	case 5:
		n := uint64(32) << w.rand.IntN(4)
		r.ExtentSize, args = &n, []string{"-s", fmt.Sprintf("%dk", n/2)}
	case 6:
		r.AutoActivate, args = &on, []string{"--setautoactivation", map[bool]string{true: "y", false: "n"}[on]}
	case 7:
		r.Resizeable, args = &on, []string{map[bool]string{true: "-xy", false: "-xn"}[on]}
	}
	return command{
		append(append([]string{"vgchange"}, args...), "vg"),
		func() (*metadata.VG, metadata.Operation, error) { return w.vg.Change(w.env, r) },
	}
}
