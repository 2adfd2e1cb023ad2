// Conformance runs the suite of the driver layer (xen/xentest) between two domains, or in dom0 with itself, and
// measures.
//
//	conformance --role both --prepare                 dom0 with itself
//	conformance --role initiator --prepare            dom0, with a responder elsewhere
//	conformance --role responder                      a domain; its xl configuration has cmdline="--role responder"
//
// The two find each other below --path in xenstore, which dom0 makes with --prepare. The initiator prints a table of
// what passed and how fast. Exit status: 0 all passed, 1 something failed, 2 wrong usage.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"morgana/unikernel/measure"
	"morgana/xen"
	"morgana/xen/devxen"
	"morgana/xen/xentest"
	"morgana/xenstore"
)

type options struct {
	role, path, only, kill string
	peer                   int
	prepare, json, machine bool
	timeout                time.Duration
	rounds                 int
}

func main() {
	var o options
	flag.StringVar(&o.role, "role", "", "initiator, responder, or both in one process")
	flag.IntVar(&o.peer, "peer", -1, "number of the peer's domain; without it the two meet below --path")
	flag.StringVar(&o.path, "path", "/morgana/conformance", "directory in xenstore where the two meet")
	flag.BoolVar(&o.prepare, "prepare", false, "make --path anew, writable to every domain (dom0 only)")
	flag.BoolVar(&o.json, "json", false, "print the report as JSON")
	flag.BoolVar(&o.machine, "machine", true, "measure the machine too: system calls, hypercalls, timers")
	flag.StringVar(&o.only, "only", "", "run the cases whose names begin so")
	flag.StringVar(&o.kill, "kill", "", "shell command that replaces the responder's domain, for the cases of peer death")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "how long a case may take")
	flag.IntVar(&o.rounds, "rounds", 1000, "how often to repeat what is measured")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		fail(2, fmt.Errorf("%q is not a flag; see --help", flag.Arg(0)))
	case o.role != "initiator" && o.role != "responder" && o.role != "both":
		fail(2, fmt.Errorf("--role %q: want initiator, responder or both", o.role))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rep, err := run(ctx, &o)
	if rep != nil && o.json {
		_ = rep.WriteJSON(os.Stdout)
	} else if rep != nil {
		_ = rep.WriteText(os.Stdout)
	}
	if err == nil && rep != nil {
		err = rep.Err()
	}
	if err != nil {
		fail(1, err)
	}
}

func fail(status int, err error) {
	fmt.Fprintln(os.Stderr, "conformance:", err)
	os.Exit(status)
}

// run plays the role. The report is nil for the responder, whose peer has it.
func run(ctx context.Context, o *options) (*xentest.Report, error) {
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	dom, err := devxen.Open()
	if err != nil {
		return nil, err
	}
	defer dom.Close()
	if o.prepare {
		if err := xentest.Prepare(ctx, store, o.path); err != nil {
			return nil, err
		}
	}
	env := xentest.Env{
		Dom: dom, Store: store, Path: o.path, Timeout: o.timeout, Rounds: o.rounds,
		Only: func(name string) bool { return strings.HasPrefix(name, o.only) },
	}
	fmt.Fprintf(os.Stderr, "conformance: domain %d, %s\n", dom.ID(), o.role)
	if o.role == "both" {
		env.Peer = dom.ID()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		other := make(chan error, 1)
		responder := env
		responder.Role = xentest.Responder
		go func() {
			_, err := xentest.Run(ctx, &responder, nil)
			if err != nil {
				cancel()
			}
			other <- err
		}()
		rep, err := xentest.Run(ctx, &env, progress)
		if err != nil {
			cancel()
		}
		if oerr := <-other; oerr != nil && err == nil {
			err = oerr
		}
		return withMachine(rep, o), err
	}
	if o.role == "responder" {
		env.Role = xentest.Responder
	}
	if env.Peer = xen.DomID(o.peer); o.peer < 0 {
		if env.Peer, err = xentest.Meet(ctx, store, o.path, env.Role, dom.ID()); err != nil {
			return nil, err
		}
	}
	if o.kill != "" {
		env.KillPeer = func(ctx context.Context) (xen.DomID, error) {
			if err := xentest.Forget(ctx, store, o.path, xentest.Responder); err != nil {
				return 0, err
			}
			if out, err := exec.CommandContext(ctx, "sh", "-c", o.kill).CombinedOutput(); err != nil {
				return 0, fmt.Errorf("%s: %w: %s", o.kill, err, out)
			}
			return xentest.Meet(ctx, store, o.path, xentest.Initiator, dom.ID())
		}
	}
	rep, err := xentest.Run(ctx, &env, progress)
	if env.Role == xentest.Responder {
		return nil, err
	}
	return withMachine(rep, o), err
}

// progress tells on stderr how it goes, case by case.
func progress(r xentest.Result) { fmt.Fprintln(os.Stderr, r) }

// withMachine adds what the machine itself takes.
func withMachine(rep *xentest.Report, o *options) *xentest.Report {
	if !o.machine {
		return rep
	}
	start := time.Now()
	r := xentest.Result{Case: "measure/machine"}
	for _, f := range measure.Machine(o.rounds) {
		r.Figures = append(r.Figures, xentest.Figure(f))
	}
	r.Took = time.Since(start)
	rep.Results = append(rep.Results, r)
	return rep
}
