// Package ratios keeps what benchmarks found of a part beside its peer, for one table of all: each benchmark replaces a
// file of lines of JSON, and tests/ratios/table prints what there is. Both were measured in the same run, so that a ratio
// means something on any machine.
package ratios

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is a figure of ours beside a peer's.
type Row struct {
	Part  string    `json:"part"`  // what of ours: "xenstored"
	Peer  string    `json:"peer"`  // beside what: "xenstored (C)"
	What  string    `json:"what"`  // what was done
	Unit  string    `json:"unit"`  // "/s", "ms", …
	Ours  float64   `json:"ours"`  // in that unit
	Other float64   `json:"other"` // the peer's
	Less  bool      `json:"less"`  // less is better, as with times
	At    time.Time `json:"at"`
}

// Better is how many times better ours is: 2 is twice the rate, or half the time. 0 if there is nothing to compare.
func (r Row) Better() float64 {
	a, b := r.Ours, r.Other
	if r.Less {
		a, b = b, a
	}
	if !(a > 0) || !(b > 0) || math.IsInf(a/b, 0) {
		return 0
	}
	return a / b
}

// Directory is where rows are kept below the directory that REPORTS in the environment names; "" without that.
func Directory() string {
	if dir := os.Getenv("REPORTS"); dir != "" {
		return filepath.Join(dir, "ratios")
	}
	return ""
}

// Keep replaces the rows of a benchmark, by its name, if REPORTS says where. A benchmark that has only a part of its rows
// keeps that.
func Keep(benchmark string, rows []Row) error {
	dir := Directory()
	if dir == "" || len(rows) == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var b []byte
	for _, r := range rows {
		if r.At.IsZero() {
			r.At = time.Now().UTC().Truncate(time.Second)
		}
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", benchmark, r.What, err)
		}
		b = append(append(b, line...), '\n')
	}
	return os.WriteFile(filepath.Join(dir, benchmark+".jsonl"), b, 0o644)
}

// Read reads all rows in a directory, benchmark by benchmark.
func Read(dir string) (all []Row, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for n := 1; lines.Scan(); n++ {
			var r Row
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				return nil, errors.Join(fmt.Errorf("%s:%d: %w", name, n, err), f.Close())
			}
			all = append(all, r)
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Write writes the table: a part at a time, each with the peer that it was measured beside.
func Write(w io.Writer, rows []Row) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	last := ""
	for _, r := range rows {
		if head := r.Part + " beside " + r.Peer; head != last {
			if last != "" {
				fmt.Fprint(tw, "\t\t\t\t\n")
			}
			fmt.Fprintf(tw, "%s\tours\tpeer\tbetter\t\n", head)
			last = head
		}
		better := "–"
		if b := r.Better(); b > 0 {
			better = fmt.Sprintf("%.2f×", b)
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\n", r.What, figure(r.Ours, r.Unit), figure(r.Other, r.Unit), better, mark(r.Better()))
	}
	return tw.Flush()
}

// mark shows at a glance where ours is not better: within a twentieth is even.
func mark(better float64) string {
	if better > 0 && better < 0.95 {
		return "slower"
	}
	return ""
}

// figure has three digits that mean something.
func figure(v float64, unit string) string {
	if v == 0 {
		return "–"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	sep := " "
	if strings.HasPrefix(unit, "/") {
		sep = ""
	}
	return fmt.Sprintf("%.*f%s%s", digits, v, sep, unit)
}
