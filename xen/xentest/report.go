package xentest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Figure is something that a case measured.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func (f Figure) String() string { return fmt.Sprintf("%s %.4g %s", f.Name, f.Value, f.Unit) }

// Result is one case's outcome.
type Result struct {
	Case    string        `json:"case"`
	Err     string        `json:"error,omitempty"`   // why it failed, "" if it did not
	NotRun  string        `json:"not_run,omitempty"` // why it was not run, "" if it was
	Took    time.Duration `json:"took_ns"`
	Figures []Figure      `json:"figures,omitempty"`
}

// OK reports whether the case ran and passed.
func (r Result) OK() bool { return r.Err == "" && r.NotRun == "" }

func (r Result) String() string {
	what := "pass"
	switch {
	case r.Err != "":
		what = "FAIL " + r.Err
	case r.NotRun != "":
		what = "not run: " + r.NotRun
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-32s %8.1fms  %s", r.Case, float64(r.Took)/1e6, what)
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "\n    %s", f)
	}
	return b.String()
}

// Report is the outcome of a suite.
type Report struct {
	Results []Result `json:"results"`
}

// Failed returns the cases that failed.
func (r *Report) Failed() []Result {
	var failed []Result
	for _, x := range r.Results {
		if x.Err != "" {
			failed = append(failed, x)
		}
	}
	return failed
}

// Err is nil if no case failed, else it names those that did.
func (r *Report) Err() error {
	failed := r.Failed()
	if len(failed) == 0 {
		return nil
	}
	var names []string
	for _, f := range failed {
		names = append(names, f.Case+": "+f.Err)
	}
	return fmt.Errorf("%d of %d cases failed: %s", len(failed), len(r.Results), strings.Join(names, "; "))
}

// WriteText writes the report as a table for people.
func (r *Report) WriteText(w io.Writer) error {
	var passed, notRun int
	for _, x := range r.Results {
		if _, err := fmt.Fprintln(w, x); err != nil {
			return err
		}
		switch {
		case x.NotRun != "":
			notRun++
		case x.Err == "":
			passed++
		}
	}
	_, err := fmt.Fprintf(w, "%d passed, %d failed, %d not run\n", passed, len(r.Failed()), notRun)
	return err
}

// WriteJSON writes the report for programs, on one line.
func (r *Report) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }
