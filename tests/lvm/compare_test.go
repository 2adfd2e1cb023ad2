package lvm

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/tests/lvm/oracle"
)

// TestCommands runs the commands of testdata/commands.txt with lvm2 and with mlvm, each on disks of its own, and
// compares what they say, their exit codes, and what is on the disks afterwards.
//
// A line that begins with "== " begins a scenario: the disks are empty again. $1 to $4 are disks of 64 MiB. Before a
// command may stand
//
//	?   compare only the exit codes and what is on the disks; why follows behind #
//	~   the lines may be in another order, because disks have other names
//	-   run it only with lvm2, +  only with mlvm
//	<y  answer with y
func TestCommands(t *testing.T) {
	b, err := os.ReadFile("testdata/commands.txt")
	if err != nil {
		t.Fatal(err)
	}
	var total atomic.Int64
	for part := range strings.SplitSeq("\n"+string(b), "\n== ") {
		name, lines, _ := strings.Cut(part, "\n")
		if strings.TrimSpace(name) == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "volumes" {
				t.Skip("runs lvm2 often")
			}
			t.Parallel()
			total.Add(int64(scenario(t, lines)))
		})
	}
	t.Cleanup(func() { t.Logf("%d commands, the same from both", total.Load()) })
}

type side struct {
	run   func(input string, args ...string) oracle.Result
	disks []oracle.Disk
	clean *strings.Replacer
}

func scenario(t *testing.T, lines string) (n int) {
	a, b := oracle.New(t), oracle.New(t)
	da, db := a.Disks(4, 64<<20), b.Disks(4, 64<<20)
	m := beside(b, db...)
	sides := []side{
		{a.RunInput, da, cleaner(a, da)},
		{m.input, db, cleaner(b, db)},
	}
	for _, line := range strings.Split(lines, "\n") {
		command, note, _ := strings.Cut(line, " # ")
		command = strings.TrimSpace(command)
		if command == "" || command[0] == '#' {
			continue
		}
		mark, input := byte(0), ""
		for strings.IndexByte("?~-+<", command[0]) >= 0 {
			if command[0] == '<' {
				answer, rest, _ := strings.Cut(command[1:], " ")
				input, command = answer+"\n", rest
			} else {
				mark, command = command[0], command[1:]
			}
			command = strings.TrimSpace(command)
		}
		var results []oracle.Result
		for i, s := range sides {
			if mark == '-' && i == 1 || mark == '+' && i == 0 {
				continue
			}
			r := s.run(input, split(command, s.disks)...)
			r.Stdout, r.Stderr = tidy(s, r.Stdout), tidy(s, r.Stderr)
			results = append(results, r)
		}
		n++
		if len(results) < 2 {
			continue
		}
		if mark == '?' {
			if note == "" {
				t.Errorf("%s: it is not said why the words differ", command)
			}
			results[0].Stdout, results[0].Stderr = results[1].Stdout, results[1].Stderr
		}
		if mark == '~' {
			for i := range results {
				results[i].Stdout = inAnyOrder(results[i].Stdout)
			}
		}
		if d := cmp.Diff(results[0], results[1]); d != "" {
			t.Errorf("%s (-lvm2 +mlvm):\n%s", command, d)
		}
		if d := cmp.Diff(state(t, sides[0]), state(t, sides[1])); d != "" {
			t.Fatalf("after %s, on the disks (-lvm2 +mlvm):\n%s", command, d)
		}
	}
	// What mlvm wrote, lvm2 reads without a word.
	if r := b.Run("vgck"); r.Code != 0 || strings.Contains(r.Stderr, "WARNING") {
		t.Errorf("lvm2's vgck of what mlvm wrote: %d %s", r.Code, r.Stderr)
	}
	return n
}

func inAnyOrder(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// split makes words of a command; '…' keeps spaces.
func split(command string, disks []oracle.Disk) []string {
	for i, d := range disks {
		command = strings.ReplaceAll(command, fmt.Sprintf("$%d", i+1), d.Path)
	}
	var words []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func cleaner(o *oracle.Oracle, disks []oracle.Disk) *strings.Replacer {
	pairs := []string{o.SystemDir(), "DIR"}
	for i, d := range disks {
		pairs = append(pairs, d.Path, fmt.Sprintf("DISK%d", i+1))
	}
	return strings.NewReplacer(pairs...)
}

var (
	uuids  = regexp.MustCompile(`[0-9A-Za-z]{6}(-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}`)
	times  = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}`)
	seqnos = regexp.MustCompile(`(Metadata Sequence No )\d+`)
	spaces = regexp.MustCompile(` {2,}`)
	// kernel is what lvm2 says of the missing device-mapper.
	kernel = regexp.MustCompile(`(?m)^.*(/dev/mapper/control|kernel device-mapper|device-mapper is available|Incompatible libdevmapper|Failed to check for active volumes).*\n`)
)

func tidy(s side, text string) string {
	text = s.clean.Replace(text)
	text = uuids.ReplaceAllString(text, "UUID")
	text = times.ReplaceAllString(text, "TIME")
	text = kernel.ReplaceAllString(text, "")
	text = spaces.ReplaceAllString(text, " ") // columns are as wide as the names of loop devices
	return strings.ReplaceAll(seqnos.ReplaceAllString(text, "${1}N"), " \n", "\n")
}

// state is all that is on the disks, as lvm2 reads it.
func state(t *testing.T, s side) []string {
	t.Helper()
	r := s.run("", "fullreport", "--reportformat", "json", "--units", "s")
	if r.Code != 0 {
		t.Fatalf("fullreport: %d %s", r.Code, r.Stderr)
	}
	report, err := oracle.ParseReport([]byte(r.Stdout))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // what has a uuid
	for _, group := range report {
		for _, row := range group["pv"] {
			names[row["pv_uuid"]] = row["pv_name"]
		}
		for _, row := range group["lv"] {
			names[row["lv_uuid"]] = row["lv_full_name"]
		}
	}
	var rows []string
	for _, group := range report {
		for _, kind := range []string{"vg", "pv", "lv", "pvseg", "seg"} {
			for _, row := range group[kind] {
				text := uuids.ReplaceAllStringFunc(sortedRow(row), func(id string) string {
					if n := names[id]; n != "" {
						return n
					}
					return id
				})
				rows = append(rows, kind+" "+tidy(s, text))
			}
		}
	}
	slices.Sort(rows)
	return rows
}

// notCompared are fields that differ between two runs of the same tool: numbers of devices, how often the metadata were
// written, which mlvm does once where lvm2 does it several times, and which areas lvm2 ignores, because it throws dice.
var notCompared = map[string]bool{"pv_major": true, "pv_minor": true, "vg_seqno": true, "pv_mda_free": true, "pv_mda_used_count": true, "vg_mda_free": true}

func sortedRow(row map[string]string) string {
	var b strings.Builder
	for _, k := range sortedKeys(row) {
		if row[k] != "" && !notCompared[k] {
			fmt.Fprintf(&b, "%s=%s ", k, row[k])
		}
	}
	return b.String()
}
