package lvm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/tests/lvm/oracle"
)

// TestRandomWalk changes the same disks with lvm2 and mlvm in turn, at random. After every command both report the
// same, and lvm2's vgck finds nothing to say. SEED repeats a walk, SOAK walks for as long as it says.
func TestRandomWalk(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	steps := 200
	if testing.Short() {
		steps = 15
	}
	soak, _ := time.ParseDuration(os.Getenv("SOAK"))
	end := time.Now().Add(soak)
	for i := uint64(0); i == 0 || time.Now().Before(end); i++ {
		ok := t.Run(fmt.Sprintf("SEED=%d", seed+i), func(t *testing.T) {
			w := newWalk(t, seed+i)
			for range steps {
				w.step()
			}
			t.Logf("%d commands, %d of them of mlvm; %d changed something", w.commands, w.ours, w.changes)
		})
		if !ok {
			t.Logf("SEED=%d go test -run TestRandomWalk repeats it", seed+i)
			return
		}
	}
}

type walk struct {
	t       *testing.T
	rand    *rand.Rand
	o       *oracle.Oracle
	m       mlvm
	disks   []oracle.Disk
	before  oracle.Report
	history []string

	commands, ours, changes int
}

func newWalk(t *testing.T, seed uint64) *walk {
	w := &walk{t: t, rand: rand.New(rand.NewPCG(seed, 0)), o: oracle.New(t)}
	w.disks = w.o.Disks(5, 24<<20)
	w.m = beside(w.o, w.disks...)
	return w
}

func (w *walk) pick(s ...string) string { return s[w.rand.IntN(len(s))] }

func (w *walk) disk() string { return w.disks[w.rand.IntN(len(w.disks))].Path }

// rows are those of a kind in the last report.
func (w *walk) rows(kind string) (rows []map[string]string) {
	for _, g := range w.before {
		rows = append(rows, g[kind]...)
	}
	return rows
}

func (w *walk) vg() string {
	if rows := w.rows("vg"); len(rows) > 0 && w.rand.IntN(20) > 0 {
		return rows[w.rand.IntN(len(rows))]["vg_name"]
	}
	return w.pick("vg0", "vg1", "vg2")
}

func (w *walk) lv() string {
	if rows := w.rows("lv"); len(rows) > 0 && w.rand.IntN(20) > 0 {
		return rows[w.rand.IntN(len(rows))]["lv_full_name"]
	}
	return w.vg() + "/" + w.name()
}

// name is a volume's, mostly one that is not there yet.
func (w *walk) name() string {
	if w.rand.IntN(6) > 0 {
		return fmt.Sprintf("v%d", w.commands)
	}
	return w.pick("a", "b", "c", "d-e", "f.g", "h_i", "lvol0", "lvol3")
}

// stuck is a group that most commands are refused for, and what helps.
func (w *walk) stuck() (args []string, ok bool) {
	for _, g := range w.rows("vg") {
		switch {
		case g["vg_exported"] != "":
			return []string{"vgimport", g["vg_name"]}, true
		case g["vg_extendable"] == "":
			return []string{"vgchange", "-xy", g["vg_name"]}, true
		}
	}
	return nil, false
}

func (w *walk) size() string {
	return w.pick("-L1M", "-L2M", "-L3.5M", "-L7M", "-l1", "-l3", "-l10%VG", "-l25%FREE", "-l100%FREE", "-L100M")
}

// where are disks for extents, mostly none.
func (w *walk) where() []string {
	switch w.rand.IntN(5) {
	case 0:
		return []string{w.disk()}
	case 1:
		return []string{fmt.Sprintf("%s:%d-%d", w.disk(), w.rand.IntN(5), 5+w.rand.IntN(10))}
	}
	return nil
}

// next is a command, and whether only mlvm can run it here.
func (w *walk) next() (args []string, only bool) {
	a := func(s ...string) ([]string, bool) { return s, false }
	if len(w.rows("vg")) == 0 {
		return a(append([]string{"vgcreate", "-s", w.pick("512k", "1m", "4m"), w.pick("vg0", "vg1")}, w.disk())...)
	}
	if args, ok := w.stuck(); ok && w.rand.IntN(3) == 0 {
		return args, false
	}
	n := w.rand.IntN(34)
	if n >= 17 && n <= 25 && len(w.rows("lv")) == 0 {
		n = 33 // there must be a volume first
	}
	switch n {
	case 0:
		return a("vgcreate", "-s", w.pick("512k", "1m", "4m"), w.vg(), w.disk())
	case 1, 2, 3:
		return a("vgextend", w.vg(), w.disk())
	case 4:
		return a("vgreduce", w.vg(), w.disk())
	case 5:
		return a("vgrename", w.vg(), w.pick("vg0", "vg1", "vg-2"))
	case 6:
		return a("vgsplit", w.vg(), w.pick("vg0", "vg1", "vg3"), w.disk())
	case 7:
		return a("vgmerge", w.vg(), w.vg())
	case 8:
		return a("vgchange", w.pick("--addtag", "--deltag"), w.pick("red", "blue/1"), w.vg())
	case 9:
		return a("vgchange", w.pick("--alloc=cling", "--alloc=normal", "-xn", "-xy", "-xy", "-l0", "-p0", "-s1m", "-s512k",
			"--setautoactivation=n", "--setautoactivation=y", "-u"), w.vg())
	case 10:
		return a(w.pick("vgexport", "vgimport", "vgimport"), w.vg())
	case 11:
		return a("vgremove", w.pick("-f", "-y"), w.vg())
	case 12:
		return a("pvchange", w.pick("-xn", "-xy", "-xy", "--addtag=p", "--deltag=p", "-u"), w.disk())
	case 13:
		return a("pvresize", "-y", "--setphysicalvolumesize", w.pick("24m", "20m", "12m"), w.disk())
	case 14:
		return a(w.pick("pvcreate", "pvremove"), w.disk())
	case 15:
		return []string{"pvmove", w.disk()}, true
	case 16:
		return a("vgcfgbackup", w.vg())
	case 17, 18:
		return a("lvremove", "-f", w.lv())
	case 19:
		return a("lvrename", w.lv(), w.name())
	case 20, 21:
		return a("lvchange", w.pick("--addtag=x", "--deltag=x", "-pr", "-prw", "--alloc=anywhere", "--alloc=inherit", "-r64", "-rauto",
			"-ky", "-kn", "--setautoactivation=n", "--setautoactivation=y"), w.lv())
	case 22, 23, 24:
		return a(append([]string{"lvextend", w.pick("-L+1M", "-l+3", "-l+50%FREE", "-l+1"), w.lv()}, w.where()...)...)
	case 25:
		return a("lvreduce", "-f", w.pick("-L-1M", "-l1", "-l-2", "-l50%LV"), w.lv())
	case 26:
		return a("vgck", "--updatemetadata", w.vg())
	}
	args = []string{"lvcreate", "-an", "-Zn", "-Wn", w.size()}
	if w.rand.IntN(3) > 0 {
		args = append(args, "-n", w.name())
	}
	switch w.rand.IntN(8) {
	case 0:
		args = append(args, "-i2", "-I64k")
	case 1:
		args = append(args, "--alloc", w.pick("contiguous", "cling", "anywhere"))
	case 2:
		args = append(args, "--addtag", "x", "-pr")
	case 3:
		args = append(args, "--type", w.pick("zero", "error"))
	}
	return a(append(append(args, w.vg()), w.where()...)...)
}

func (w *walk) step() {
	w.t.Helper()
	args, only := w.next()
	ours := only || w.commands%2 == 1
	run, who := w.o.Run, "lvm2"
	if ours {
		run, who = w.m.run, "mlvm"
		w.ours++
	}
	w.commands++
	r := run(args...)
	line := fmt.Sprintf("%s %s: %d", who, strings.Join(args, " "), r.Code)
	w.history = append(w.history, line)
	if r.Code != 0 && r.Code != 5 && r.Code != 3 {
		w.fail("%s\n%s%s", line, r.Stdout, r.Stderr)
	}
	if !ours {
		w.noWarning(line, r.Stderr)
	}
	check := w.o.Run("vgck")
	if check.Code != 0 || !onlyExported(check.Stderr) {
		w.fail("after %s, vgck: %d %s", line, check.Code, check.Stderr)
	}
	full := []string{"fullreport", "--reportformat", "json", "--units", "s"}
	theirs, mine := complaintless(w.o.Run(full...)), w.m.run(full...)
	if theirs.Code != 0 || theirs.Stderr != "" || mine.Code != 0 || mine.Stderr != "" {
		w.fail("after %s, fullreport: lvm2 %d %s, mlvm %d %s", line, theirs.Code, theirs.Stderr, mine.Code, mine.Stderr)
	}
	now := w.o.Parse(theirs.Stdout)
	if d := cmp.Diff(byGroup(now), byGroup(w.o.Parse(mine.Stdout))); d != "" {
		w.fail("after %s (-lvm2 +mlvm):\n%s", line, d)
	}
	if !cmp.Equal(w.before, now) {
		w.changes++
	}
	w.before = now
}

// byGroup sorts a report's groups by their names; lvm2 has them in no particular order.
func byGroup(r oracle.Report) oracle.Report {
	name := func(g map[string][]map[string]string) string {
		if len(g["vg"]) > 0 {
			return g["vg"][0]["vg_name"]
		}
		return "~"
	}
	r = slices.Clone(r)
	slices.SortFunc(r, func(a, b map[string][]map[string]string) int { return strings.Compare(name(a), name(b)) })
	return r
}

// onlyExported reports whether lvm2 has nothing to say but that it does not look into exported groups.
func onlyExported(s string) bool {
	for line := range strings.Lines(s) {
		if !strings.Contains(line, "is exported") {
			return false
		}
	}
	return true
}

// noWarning wants lvm2 to be content with what it finds.
func (w *walk) noWarning(line, stderr string) {
	w.t.Helper()
	for l := range strings.Lines(stderr) {
		if strings.Contains(l, "WARNING") && !slices.ContainsFunc(harmless, func(h string) bool { return strings.Contains(l, h) }) {
			w.fail("%s: lvm2 warns: %s", line, l)
		}
	}
}

// harmless are warnings about what was asked for, not about what is on the disks.
var harmless = []string{
	"not zeroed", "Pretending size is", "No free extents on physical volume", "Overriding real size", "Reducing ", "is smaller than",
	"updating old metadata", // of the other group, which vgsplit and vgmerge leave on the disks until the end
}

func (w *walk) fail(format string, a ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\nall commands:\n%s", fmt.Sprintf(format, a...), strings.Join(w.history, "\n"))
}
