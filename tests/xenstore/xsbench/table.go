package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"morgana/tests/ratios"
	"morgana/tests/xenstore/peers"
)

// many is how many clients there are when there are many.
const many = 8

// bench is daemons that are measured side by side.
type bench struct {
	names   []string
	start   func(name string) (*peers.Daemon, error)
	slice   time.Duration
	turns   int
	ops     string // "" for all
	goals   *goals
	what    string // what the table under way is of
	rows    []ratios.Row
	daemons []*peers.Daemon
	clients [][]*client
}

// open starts the daemons, with so many clients each.
func (b *bench) open(clients int) error {
	for _, n := range b.names {
		d, err := b.start(n)
		if err != nil {
			return err
		}
		b.daemons = append(b.daemons, d)
		var cs []*client
		for range clients {
			c, err := connect(d.Socket())
			if err != nil {
				return err
			}
			cs = append(cs, c)
		}
		b.clients = append(b.clients, cs)
	}
	return nil
}

func (b *bench) close() {
	for _, cs := range b.clients {
		for _, c := range cs {
			c.close()
		}
	}
	for _, d := range b.daemons {
		d.Kill()
	}
	b.daemons, b.clients = nil, nil
}

// compare measures all daemons, turn by turn.
func (b *bench) compare(clients int, slice time.Duration, kinds ...work) ([]figures, error) {
	f := make([]figures, len(b.names))
	for i := range b.names {
		prepare(b.clients[i][:clients], kinds...)
	}
	for range b.turns {
		for i, d := range b.daemons {
			t, err := measure(d.Cmd.Process.Pid, b.clients[i][:clients], slice)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", b.names[i], kinds[0].name, err)
			}
			f[i].add(t)
		}
	}
	for i := range f {
		f[i].all.sort()
	}
	return f, nil
}

// table measures daemons with so many nodes.
func (b *bench) table(nodes int) error {
	defer b.close()
	if err := b.open(many); err != nil {
		return err
	}
	b.head(fmt.Sprintf("%d nodes", nodes))
	loads, err := b.load(nodes)
	if err != nil {
		return err
	}
	b.row("load, 1 client", loads, 1)
	for _, count := range []int{1, many} {
		for _, op := range b.operations(nodes) {
			f, err := b.compare(count, b.slice, op)
			if err != nil {
				return err
			}
			b.row(fmt.Sprintf("%s, %d client%s", op.name, count, plural(count)), f, count)
		}
	}
	if nodes >= 100_000 {
		f, err := b.compare(many, 10*b.slice, b.operations(nodes)...)
		if err != nil {
			return err
		}
		b.row(fmt.Sprintf("all of it, %d clients", many), f, 0)
		b.goals.latency(nodes, f[0])
	}
	return b.memory(nodes)
}

// load fills the stores, the daemons in turns.
func (b *bench) load(nodes int) ([]figures, error) {
	const parts = 20
	f := make([]figures, len(b.names))
	took := make([]time.Duration, len(b.names))
	for part := range parts {
		for i, d := range b.daemons {
			begin, cpu := time.Now(), cpuTime(d.Cmd.Process.Pid)
			if err := fill(b.clients[i][0], nodes*part/parts, nodes*(part+1)/parts); err != nil {
				return nil, fmt.Errorf("%s: %w", b.names[i], err)
			}
			took[i] += time.Since(begin)
			f[i].cpu += cpuTime(d.Cmd.Process.Pid) - cpu
		}
	}
	for i := range f {
		f[i].rate = float64(nodes) / took[i].Seconds()
		f[i].cpu /= time.Duration(nodes)
		if err := home(b.clients[i][0], many); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// operations are those that are wanted.
func (b *bench) operations(nodes int) []work {
	return slices.DeleteFunc(operations(nodes), func(w work) bool {
		return b.ops != "" && !slices.ContainsFunc(strings.Split(b.ops, ","), func(s string) bool { return strings.HasPrefix(w.name, s) })
	})
}

func (b *bench) memory(nodes int) error {
	fmt.Printf("%-28s", "memory, MB")
	rss := make([]float64, len(b.names))
	for i, d := range b.daemons {
		rss[i] = resident(d.Cmd.Process.Pid)
		fmt.Printf("%44.1f", rss[i])
	}
	if i := b.xenstored(); i > 0 {
		fmt.Printf("%14.2f", rss[0]/rss[i])
		b.goals.memory(nodes, rss[0], rss[i])
		b.keep("memory", "MB", rss[0], rss[i], true)
	}
	fmt.Println()
	return nil
}

// watching measures writes while there are watches of other nodes.
func (b *bench) watching(counts []int) error {
	defer b.close()
	if err := b.open(2); err != nil {
		return err
	}
	b.head("watches")
	have := 0
	for _, count := range counts {
		for i := range b.names {
			if err := watches(b.clients[i][1], have, count); err != nil {
				return err
			}
		}
		have = count
		f, err := b.compare(1, b.slice, elsewhere)
		if err != nil {
			return err
		}
		b.row(fmt.Sprintf("write, %d watches", count), f, 1)
	}
	return nil
}

// flat compares two of our own daemons, one with few watches and one with many: their rates are to be alike.
func (b *bench) flat(few, many int) error {
	defer b.close()
	defer func(names []string) { b.names = names }(b.names)
	b.names = []string{"ours", "ours"}
	if err := b.open(2); err != nil {
		return err
	}
	for i, n := range []int{few, many} {
		if err := watches(b.clients[i][1], 0, n); err != nil {
			return err
		}
	}
	f, err := b.compare(1, 2*b.slice, elsewhere)
	if err != nil {
		return err
	}
	fmt.Printf("\nwrites with %d watches: %.0f/s, %.1f µs of CPU; with %d: %.0f/s, %.1f µs\n", few, f[0].rate, us(f[0].cpu), many, f[1].rate, us(f[1].cpu))
	b.goals.flat(few, many, f[0], f[1])
	return nil
}

// xenstored is the index of xenstored if ours is beside it, 0 if not.
func (b *bench) xenstored() int {
	for i, n := range b.names {
		if i > 0 && n == "C" && b.names[0] == "ours" {
			return i
		}
	}
	return 0
}

func (b *bench) head(what string) {
	b.what = what
	fmt.Printf("\n%-28s", what)
	for _, n := range b.names {
		fmt.Printf("%44s", n)
	}
	if b.xenstored() > 0 {
		fmt.Printf("%14s", "ours/C CPU")
	}
	fmt.Println()
}

// row prints a row and holds it against the goals for so many clients; 0 for none.
func (b *bench) row(name string, f []figures, clients int) {
	fmt.Printf("%-28s", name)
	for _, x := range f {
		s := fmt.Sprintf("%.0f/s %5.1f", x.rate, us(x.cpu))
		if x.all != nil {
			s += fmt.Sprintf(" %5.0f %6.0f %7.0f µs", us(x.all.at(0.5)), us(x.all.at(0.999)), us(x.all.max()))
		}
		fmt.Printf("%44s", s)
	}
	if i := b.xenstored(); i > 0 {
		rate, cpu := f[0].rate/f[i].rate, float64(f[i].cpu)/float64(f[0].cpu)
		fmt.Printf("%8.2f %5.2f", rate, cpu)
		b.keep(name, "/s", f[0].rate, f[i].rate, false)
		if clients > 0 {
			b.goals.ratio(name, clients, rate, cpu, f[0].load)
		}
	}
	fmt.Println()
}

// keep keeps a row for the table of all parts.
func (b *bench) keep(name, unit string, ours, c float64, less bool) {
	b.rows = append(b.rows, ratios.Row{
		Part: "xenstored", Peer: "xenstored (C)", What: b.what + ": " + name, Unit: unit, Ours: ours, Other: c, Less: less,
	})
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

// resident is a process's resident memory, in megabytes.
func resident(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return n / 1024
		}
	}
	return 0
}
