// Command xsbench measures our xenstore daemon beside xenstored (C) and oxenstored (OCaml), all of them at the same time
// on one machine, turn by turn: rates with one and with eight clients, CPU time, latencies, watches, memory. It fails where
// ours misses a goal, and says which.
//
//	go run ./tests/xenstore/xsbench [-time 200ms] [-nodes 1000,10000,100000]
//
// A client sends a request and waits for its reply. One thread serves all clients with requests that were made before, two
// system calls each, which is also the least that a daemon needs. It has a processor of its own, and the daemons have another
// one, or the scheduler would put both sides on one, where they take turns. So with eight clients the generator may be what
// is busiest: a row is judged by the daemon's CPU time an operation too, which each row shows.
//
// Columns: operations a second, CPU time of the daemon for one (the best turn); median, 99.9th percentile and worst latency
// of a request (all turns). What other programs on the machine do shows in the latencies of all daemons.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"morgana/tests/ratios"
	"morgana/tests/xenstore/peers"
)

func main() {
	slice := flag.Duration("time", 200*time.Millisecond, "how long each operation is measured in one turn")
	turns := flag.Int("turns", 4, "how often the daemons take turns")
	nodes := flag.String("nodes", "1000,10000,100000", "how many nodes there are")
	watches := flag.String("watches", "10,100,1000,10000", "how many watches there are")
	only := flag.String("only", "", "run these daemons alone, as in ours,C")
	ops := flag.String("ops", "", "measure these operations alone, as in read,tx")
	ours := flag.String("ours", "", "the program that is ours, built before (it is tests/xenstore/ours)")
	flag.Parse()
	if err := run(*slice, *turns, *nodes, *watches, *only, *ops, *ours); err != nil {
		fmt.Fprintln(os.Stderr, "xsbench:", err)
		os.Exit(1)
	}
}

// errMissed says that ours did not reach what was promised.
var errMissed = errors.New("goals were missed")

func run(slice time.Duration, turns int, nodes, watches, only, ops, ours string) error {
	p, err := peers.Find()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/dev/shm", "xsbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if ours == "" {
		ours = filepath.Join(dir, "xenstored")
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", ours, "morgana/tests/xenstore/ours")
		build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := build.Run(); err != nil {
			return err
		}
	}
	if err := settle(); err != nil {
		return err
	}
	hosts := 0
	b := &bench{names: []string{"ours", "C", "OCaml"}, slice: slice, turns: turns, ops: ops, goals: &goals{}}
	if only != "" {
		b.names = strings.Split(only, ",")
	}
	b.start = func(name string) (*peers.Daemon, error) {
		hosts++
		h, err := peers.NewHost(filepath.Join(dir, name+strconv.Itoa(hosts)))
		if err != nil {
			return nil, err
		}
		switch name {
		case "C":
			return alone(p.StartC(h))
		case "OCaml":
			return alone(p.StartOCaml(h))
		}
		c := exec.Command(ours, "-N")
		run := filepath.Join(h.Dir, "run")
		c.Env = append(os.Environ(), "FAKEXEN="+h.Dir, "XENSTORED_RUNDIR="+run, "XENSTORED_PATH="+h.Socket())
		return alone(peers.Start(name, h, c))
	}
	for _, n := range numbers(nodes) {
		if err := b.table(n); err != nil {
			return err
		}
	}
	if all := numbers(watches); len(all) > 0 {
		if err := b.watching(all); err != nil {
			return err
		}
		if b.names[0] == "ours" {
			if err := b.flat(all[0], all[len(all)-1]); err != nil {
				return err
			}
		}
	}
	if err := ratios.Keep("xenstore", b.rows); err != nil {
		return err
	}
	if m := b.goals.missed; len(m) > 0 {
		return fmt.Errorf("%w:\n  %s", errMissed, strings.Join(m, "\n  "))
	}
	if b.xenstored() > 0 {
		fmt.Println("\nevery goal was reached")
	}
	return nil
}

func numbers(s string) (all []int) {
	for f := range strings.SplitSeq(s, ",") {
		if n, err := strconv.Atoi(f); err == nil {
			all = append(all, n)
		}
	}
	return all
}
