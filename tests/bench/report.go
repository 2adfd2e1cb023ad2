package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"morgana/tests/ratios"
	"morgana/unikernel/measure"
)

// A Row is a figure of ours beside a peer's.
type Row struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Ours  float64 `json:"ours"`
	Peer  float64 `json:"peer,omitempty"` // 0 if there is none
	Ratio float64 `json:"ratio,omitempty"`
	Goal  float64 `json:"goal,omitempty"` // the largest ratio wanted; 0 if there is no goal
}

// Missed reports whether the row has a goal and does not reach it.
func (r Row) Missed() bool { return r.Goal > 0 && r.Ratio > r.Goal }

// A Report is what was measured in one boot.
type Report struct {
	Host    string `json:"host"`
	Images  []Life `json:"images,omitempty"`
	Machine []Row  `json:"machine,omitempty"`
}

// goals are the largest ratios to a Linux guest that we want.
var goals = map[string]float64{
	"system call": 1, "goroutine switch": 1, "thread switch": 1, figureEvent: 1,
	"timer of 1 ms late, median": 1, "timer of 1 ms late, 99 of 100": 1,
	"allocation of 64 bytes": 1.3, "GC pause, median": 1.3, "GC pause, worst": 1.3,
}

// mainGoal is how much longer than a trivial kernel's whole life the way to main.main may take.
const mainGoal = 2

// Rows puts the figures side by side. trivial is the least life of a trivial kernel, in milliseconds; 0 if unknown.
func Rows(ours, peers []measure.Figure, trivial float64) []Row {
	other := map[string]float64{figureMain: trivial}
	for _, f := range peers {
		other[f.Name] = f.Value
	}
	rows := make([]Row, len(ours))
	for i, f := range ours {
		r := Row{Name: f.Name, Unit: f.Unit, Ours: f.Value, Peer: other[f.Name], Goal: goals[f.Name]}
		if f.Name == figureMain {
			r.Name, r.Goal = figureMain+"; peer: a trivial kernel's life", mainGoal
		}
		if r.Peer > 0 {
			r.Ratio = r.Ours / r.Peer
		} else {
			r.Goal = 0
		}
		rows[i] = r
	}
	return rows
}

// WriteText writes tables for people.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s; times in ms, least/median/most\n\n", r.Host)
	if len(r.Images) > 0 {
		fmt.Fprint(t, "bytes\tkernel adds\tmemory\txl create\twhole life\truns\tends with\t  image\n")
	}
	for _, l := range r.Images {
		kernel := "-"
		if l.Kernel > 0 {
			kernel = fmt.Sprint(l.Kernel)
		}
		fmt.Fprintf(t, "%d\t%s\t%d MiB\t%v\t%v\t%d\t%s\t  %s\n", l.Size, kernel, l.MemoryMiB, l.Create, l.Life, l.Runs, l.Reason, l.Name)
	}
	if len(r.Machine) > 0 {
		fmt.Fprintf(t, "\nours\tLinux guest\t\tratio\tgoal\t\t  in a domain with %d MiB and 1 CPU, the best of the runs\n", memoryMiB)
	}
	for _, x := range r.Machine {
		peer, ratio, goal, missed := "-", "-", "", ""
		if x.Peer > 0 {
			peer, ratio = number(x.Peer), fmt.Sprintf("%.2f", x.Ratio)
		}
		if x.Goal > 0 {
			goal = fmt.Sprintf("≤ %.1f", x.Goal)
		}
		if x.Missed() {
			missed = "missed"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t  %s\n", number(x.Ours), peer, x.Unit, ratio, goal, missed, x.Name)
	}
	return t.Flush()
}

// Ratios are the rows that have a peer, for the table of all parts.
func (r *Report) Ratios() (rows []ratios.Row) {
	for _, x := range r.Machine {
		if x.Peer > 0 {
			rows = append(rows, ratios.Row{
				Part: "a unikernel", Peer: "a Linux guest", What: x.Name, Unit: x.Unit, Ours: x.Ours, Other: x.Peer, Less: x.Unit != "MiB/s" && x.Unit != "/s",
			})
		}
	}
	return rows
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (s Spread) String() string { return fmt.Sprintf("%.0f/%.0f/%.0f", s.Min, s.Median, s.Max) }

// number has three digits that mean something.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
