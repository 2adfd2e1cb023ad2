package ratios

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What benchmarks keep becomes one table; one that is run again replaces what it kept.
func TestTable(t *testing.T) {
	t.Setenv("REPORTS", t.TempDir())
	store := []Row{
		{Part: "xenstored", Peer: "xenstored (C)", What: "read, 1 client", Unit: "/s", Ours: 120_000, Other: 60_000},
		{Part: "xenstored", Peer: "xenstored (C)", What: "memory", Unit: "MB", Ours: 9, Other: 4.5, Less: true},
	}
	if err := Keep("xenstore", append(store, store...)); err != nil {
		t.Fatal(err)
	}
	if err := Keep("xenstore", store); err != nil {
		t.Fatal(err)
	}
	if err := Keep("lvm", []Row{{Part: "mlvm", Peer: "lvm2", What: "lvs, 1000 volumes", Unit: "ms", Ours: 12.34, Other: 0.05, Less: true}, {Part: "mlvm", Peer: "lvm2", What: "nothing"}}); err != nil {
		t.Fatal(err)
	}
	rows, err := Read(Directory())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Write(&b, rows); err != nil {
		t.Fatal(err)
	}
	const want = `mlvm beside lvm2                ours      peer       better
  lvs, 1000 volumes             12.3 ms   0.0500 ms  0.00×   slower
  nothing                       –         –          –

xenstored beside xenstored (C)  ours      peer       better
  read, 1 client                120000/s  60000/s    2.00×
  memory                        9.00 MB   4.50 MB    0.50×   slower
`
	trim := func(s string) string {
		var lines []string
		for line := range strings.Lines(s) {
			lines = append(lines, strings.TrimRight(line, " \n"))
		}
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(trim(want), trim(b.String())); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(Directory(), "bad.jsonl"), []byte("{}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(Directory()); err == nil || !strings.Contains(err.Error(), "bad.jsonl:2") {
		t.Errorf("a line that is none: %v", err)
	}
}

// Without REPORTS nothing is kept.
func TestKeepNothing(t *testing.T) {
	t.Setenv("REPORTS", "")
	if err := Keep("x", []Row{{}}); err != nil {
		t.Error(err)
	}
}
