package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"morgana/tests/testbed"
	"morgana/xen/xentest"
)

// summary is all that is shown at the end.
type summary struct {
	report  *xentest.Report
	domains []*testbed.Domain
	reasons []string
	list    string // xl list while both ran
	boot    time.Duration
	ran     time.Duration // the suite, with the start of both programs
	total   time.Duration
	storage []step
}

const (
	green = "\x1b[32m"
	red   = "\x1b[31;1m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

// write prints the tables: cases in two columns, what was measured, the host's domains, times.
func (s *summary) write(w io.Writer, colour bool) {
	paint := func(c, text string) string {
		if !colour {
			return text
		}
		return c + text + plain
	}
	cell := func(r xentest.Result) string {
		word, c, took := "pass", green, fmt.Sprintf("%8.1f ms", float64(r.Took)/1e6)
		switch {
		case r.Err != "":
			word, c = "FAIL", red
		case r.NotRun != "":
			word, c, took = "  - ", dim, "           "
		}
		return fmt.Sprintf("  %s  %-28s %s", paint(c, word), r.Case, took)
	}
	var cases []xentest.Result
	passed, notRun := 0, map[string]int{}
	for _, r := range s.report.Results {
		if !strings.HasPrefix(r.Case, "measure/") || r.Err != "" {
			cases = append(cases, r)
		}
		switch {
		case r.NotRun != "":
			notRun[r.NotRun]++
		case r.Err == "":
			passed++
		}
	}
	fmt.Fprint(w, "\nWhat two domains do to each other\n\n")
	rows := (len(cases) + 1) / 2
	for i := range rows {
		line := cell(cases[i])
		if i+rows < len(cases) {
			line += "  " + cell(cases[i+rows])
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	failed := s.report.Failed()
	for _, r := range failed {
		fmt.Fprintf(w, "\n  %s %s: %s\n", paint(red, "FAIL"), r.Case, r.Err)
	}
	fmt.Fprintf(w, "\n  %d passed, %d failed", passed, len(failed))
	for why, n := range notRun {
		fmt.Fprintf(w, ", %d not run (%s)", n, why)
	}
	fmt.Fprint(w, "\n\nHow fast\n\n")
	for _, r := range s.report.Results {
		for _, f := range r.Figures {
			fmt.Fprintf(w, "  %10s %-3s %s\n", number(f.Value), f.Unit, f.Name)
		}
	}
	writeStorage(w, s.storage, paint)
	if s.list != "" {
		fmt.Fprintf(w, "\nxl list, meanwhile\n\n  %s\n", strings.ReplaceAll(strings.TrimSpace(s.list), "\n", "\n  "))
	}
	fmt.Fprint(w, "\nTimes\n\n")
	if s.boot > 0 {
		fmt.Fprintf(w, "  %6.1f s  to boot Xen and dom0 in QEMU\n", s.boot.Seconds())
	}
	for _, d := range s.domains {
		fmt.Fprintf(w, "  %6.1f s  to create domain %d, %s\n", d.Created.Seconds(), d.ID, d.Name)
	}
	fmt.Fprintf(w, "  %6.1f s  for the suite\n  %6.1f s  in all\n", s.ran.Seconds(), s.total.Seconds())
	if s.boot > 0 {
		fmt.Fprint(w, "\n  "+paint(dim, "This host is emulated: compare times with each other, not with other machines'.")+"\n")
	}
}

// number has three digits that mean something.
func number(v float64) string {
	digits := 2
	for limit := 10.0; v >= limit && digits > 0; limit *= 10 {
		digits--
	}
	return fmt.Sprintf("%.*f", cmp.Or(digits, 0), v)
}
