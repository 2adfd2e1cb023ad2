// Command xsbench measures our xenstore daemon beside xenstored (C) and oxenstored (OCaml), all of them at the same time
// on one machine, turn by turn: rates with one and with eight clients, latencies, watches, memory.
//
//	go run ./tests/xenstore/xsbench [-time 200ms] [-nodes 1000,10000,100000]
//
// A client sends a request and waits for its reply. One thread serves all clients, so that what is measured is the
// daemon and not the generator.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"morgana/tests/xenstore/peers"
)

func main() {
	slice := flag.Duration("time", 200*time.Millisecond, "how long each operation is measured in one turn")
	turns := flag.Int("turns", 3, "how often the daemons take turns")
	nodes := flag.String("nodes", "1000,10000,100000", "how many nodes there are")
	watches := flag.String("watches", "10,100,1000,10000", "how many watches there are")
	only := flag.String("only", "", "run these daemons alone, as in ours,C")
	flag.Parse()
	if err := run(*slice, *turns, *nodes, *watches, *only); err != nil {
		fmt.Fprintln(os.Stderr, "xsbench:", err)
		os.Exit(1)
	}
}

func run(slice time.Duration, turns int, nodes, watches, only string) error {
	p, err := peers.Find()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/dev/shm", "xsbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ours := filepath.Join(dir, "xenstored")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", ours, "morgana/tests/xenstore/ours")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	start := func(name string) (*peers.Daemon, error) {
		h, err := peers.NewHost(filepath.Join(dir, name+strconv.Itoa(int(time.Now().UnixNano()%1e6))))
		if err != nil {
			return nil, err
		}
		switch name {
		case "C":
			return p.StartC(h)
		case "OCaml":
			return p.StartOCaml(h)
		}
		c := exec.Command(ours, "-N")
		run := filepath.Join(h.Dir, "run")
		c.Env = append(os.Environ(), "FAKEXEN="+h.Dir, "XENSTORED_RUNDIR="+run, "XENSTORED_PATH="+h.Socket())
		return peers.Start("ours", h, c)
	}
	names := []string{"ours", "C", "OCaml"}
	if only != "" {
		names = strings.Split(only, ",")
	}
	for _, n := range numbers(nodes) {
		t := &table{names: names, slice: slice, turns: turns, nodes: n}
		if err := t.run(start); err != nil {
			return err
		}
	}
	return watching(names, numbers(watches), slice, turns, start)
}

func numbers(s string) (all []int) {
	for f := range strings.SplitSeq(s, ",") {
		if n, err := strconv.Atoi(f); err == nil {
			all = append(all, n)
		}
	}
	return all
}
