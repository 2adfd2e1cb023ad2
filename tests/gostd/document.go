package gostd

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// An Outcome is what the tests of a package gave in both worlds.
type Outcome struct {
	Linux, Guest Results
	Differences  int
}

// both counts the tests and examples that ended with s in both worlds.
func (o Outcome) both(s Status) int {
	n := 0
	for name, l := range o.Linux {
		if l == s && o.Guest[name] == s && top(name) == name {
			n++
		}
	}
	return n
}

const differencesHeading = "## Differences\n"

func goVersion() string { return runtime.Version() }

// Document is docs/go-tests.md: what passes where, and what differs why.
func Document(outcomes map[string]Outcome, differences []Difference) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Go's own tests as unikernels

Written by `+"`go test ./tests/gostd -update`"+` from a run with %s; do not edit. Each package's tests are compiled by
`+"`go test -c`"+`, stripped, and joined with the kernel, unchanged. The same binary runs on Linux in the same run, with
`+"`-test.short`"+`, on one CPU, with the same files beside it and without a go command: tests that compile programs skip
themselves in both. Tests and examples are counted, subtests are compared but not counted.

| package | passed on Linux | passed in a guest | failed in both | skipped in both | differences |
|---|---:|---:|---:|---:|---:|
`, goVersion())
	names := make([]string, 0, len(outcomes))
	for n := range outcomes {
		names = append(names, n)
	}
	slices.Sort(names)
	var sum [5]int
	for _, n := range names {
		o := outcomes[n]
		row := [5]int{o.Linux.Count(Pass), o.Guest.Count(Pass), o.both(Fail), o.both(Skip), o.Differences}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", n, row[0], row[1], row[2], row[3], row[4])
		for i, v := range row {
			sum[i] += v
		}
	}
	fmt.Fprintf(&b, "| **all %d** | %d | %d | %d | %d | %d |\n", len(names), sum[0], sum[1], sum[2], sum[3], sum[4])
	for _, p := range Packages {
		if len(p.Skip) > 0 {
			fmt.Fprintf(&b, "\nNot run, because what they do depends on the machine: %s of %s.\n", strings.Join(p.Skip, ", "), p.Path)
		}
	}
	fmt.Fprintf(&b, "\n%s\nFrom `tests/gostd/differences.txt`, which every run is held against.\n\n| package | test | on Linux | in a guest | why |\n|---|---|---|---|---|\n", differencesHeading)
	for _, d := range differences {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", d.Package, strings.ReplaceAll(d.Test, "|", `\|`), d.Linux, d.Guest, d.Reason)
	}
	return b.Bytes()
}
