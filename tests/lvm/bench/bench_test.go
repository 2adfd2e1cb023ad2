package bench

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"morgana/tests/ratios"
)

var (
	full = flag.Bool("full", false, "measure at every size and hold the figures to the goals")
	runs = flag.Int("runs", 7, "how often each command is measured")
)

// Sizes of groups, in logical volumes.
var sizes = []int{1, 100, 1000, 5000, 10000}

// verb is a command that is measured, and what prepares for the next time.
type verb struct {
	name string
	args func(i int) []string
	undo func(i int) []string
	does bool // writes
}

func name(i int) string { return fmt.Sprintf("bench%d", i) }

// The volume that a verb works on is made and removed by the tool that is measured, outside the measurement.
var verbs = []verb{
	{
		name: "lvcreate", does: true,
		args: func(i int) []string {
			return []string{"lvcreate", "-An", "-an", "-Zn", "-Wn", "-l1", "-n", name(i), "vg"}
		},
		undo: func(i int) []string { return []string{"lvremove", "-An", "-f", "vg/" + name(i)} },
	},
	{
		name: "lvextend", does: true,
		args: func(int) []string { return []string{"lvextend", "-An", "-l+1", "vg/lv0"} },
		undo: func(int) []string { return []string{"lvreduce", "-An", "-f", "-l-1", "vg/lv0"} },
	},
	{
		name: "lvremove", does: true,
		args: func(int) []string { return []string{"lvremove", "-An", "-f", "vg/spare"} },
		undo: func(int) []string {
			return []string{"lvcreate", "-An", "-an", "-Zn", "-Wn", "-l1", "-n", "spare", "vg"}
		},
	},
	{name: "lvs", args: func(int) []string { return []string{"lvs", "vg"} }},
}

// row is a line of the table: one verb at one size.
type row struct {
	lvs              int
	verb             string
	lvm2, plain, log cost
}

// TestAgainstLVM2 measures one-shot commands.
func TestAgainstLVM2(t *testing.T) {
	ns, times := sizes, *runs
	if !*full {
		ns, times = []int{1, 1000}, 1
	}
	if testing.Short() {
		t.Skip("takes many seconds")
	}
	program := buildProgram(t)
	var rows []row
	for _, n := range ns {
		rows = append(rows, measure(t, program, n, times)...)
	}
	report(t, rows)
}

func measure(t *testing.T, program string, n, times int) []row {
	r := newRig(t, program, n)
	rows := make([]row, len(verbs))
	for i, v := range verbs {
		rows[i] = row{lvs: n, verb: v.name}
		var lvm2, plain []cost
		for k := range times {
			lvm2 = append(lvm2, r.one(r.lvm2, v, k))
			plain = append(plain, r.one(r.ours, v, k))
		}
		rows[i].lvm2, rows[i].plain = median(lvm2), median(plain)
	}
	r.o.Quiet("vgck", "vg")
	r.ours("vgchange", "--redolog", "y", "vg")
	for i, v := range verbs {
		var log []cost
		r.one(r.ours, v, 0) // arms
		for k := range times {
			log = append(log, r.one(r.ours, v, k))
		}
		rows[i].log = median(log)
	}
	r.ours("sync", "vg")
	r.o.Quiet("vgck", "vg")
	return rows
}

// one measures a verb once with a tool.
func (r *rig) one(tool func(...string) cost, v verb, k int) cost {
	if v.name == "lvremove" {
		tool(v.undo(k)...)
		return tool(v.args(k)...)
	}
	c := tool(v.args(k)...)
	if v.undo != nil {
		tool(v.undo(k)...)
	}
	return c
}

const (
	logBytes = 16 << 10 // a change in the redo log writes at most this much
	bigRatio = 5.0      // how much faster than lvm2 at 5000 volumes
	bigGroup = 5000
)

// report prints the table, keeps it for make test, and checks the goals.
func report(t *testing.T, rows []row) {
	var b strings.Builder
	fmt.Fprintf(&b, "%6s %-9s | %-31s | %-38s | %-38s\n", "LVs", "command", "lvm2: wall cpu ms, bytes", "mlvm: wall cpu ms, bytes, ratio", "mlvm, redo log")
	for _, r := range rows {
		fmt.Fprintf(&b, "%6d %-9s | %8.1f %8.1f %12d | %8.1f %8.1f %12d %5.1f× | %8.1f %8.1f %12d %5.1f×\n", r.lvs, r.verb,
			ms(r.lvm2), cpu(r.lvm2), r.lvm2.written, ms(r.plain), cpu(r.plain), r.plain.written, ratio(r.lvm2, r.plain),
			ms(r.log), cpu(r.log), r.log.written, ratio(r.lvm2, r.log))
	}
	t.Logf("medians, with lvm2 on the same disks\n%s", b.String())
	keep(t, "lvm-commands.txt", b.String())
	var kept []ratios.Row
	for _, r := range rows {
		row := ratios.Row{
			Part: "mlvm", Peer: "lvm2", What: fmt.Sprintf("%s, %d volumes", r.verb, r.lvs), Unit: "ms", Ours: ms(r.plain), Other: ms(r.lvm2), Less: true,
		}
		kept = append(kept, row)
		if r.verb != "lvs" {
			row.What, row.Ours = row.What+", redo log", ms(r.log)
			kept = append(kept, row)
		}
	}
	if err := ratios.Keep("lvm", kept); err != nil {
		t.Error(err)
	}
	for _, r := range rows {
		goal := func(ok bool, format string, a ...any) {
			if !ok {
				t.Errorf("%d LVs, %s: "+format, append([]any{r.lvs, r.verb}, a...)...)
			}
		}
		goal(r.plain.written <= r.lvm2.written, "%d bytes written, lvm2 %d", r.plain.written, r.lvm2.written)
		goal(r.log.written <= logBytes, "%d bytes written with the redo log", r.log.written)
		if !*full {
			continue // one run tells nothing about time
		}
		goal(r.plain.wall < r.lvm2.wall, "slower than lvm2: %v, %v", r.plain.wall, r.lvm2.wall)
		goal(r.log.wall < r.lvm2.wall, "slower than lvm2 with the redo log: %v, %v", r.log.wall, r.lvm2.wall)
		if r.lvs == bigGroup {
			goal(ratio(r.lvm2, r.log) >= bigRatio, "only %.1f times as fast as lvm2 with the redo log", ratio(r.lvm2, r.log))
		}
	}
}

// keep writes a report for make test to print.
func keep(t *testing.T, name, text string) {
	t.Helper()
	if dir := os.Getenv("REPORTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func ms(c cost) float64       { return float64(c.wall.Microseconds()) / 1000 }
func cpu(c cost) float64      { return float64(c.cpu.Microseconds()) / 1000 }
func ratio(a, b cost) float64 { return float64(a.wall) / float64(max(b.wall, 1)) }
