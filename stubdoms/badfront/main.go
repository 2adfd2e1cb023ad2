// Badfront is a hostile block frontend: a domain that misbehaves towards the backend of its disk, in each way that one
// can, to show that nobody else notices. What is on the disk is destroyed.
//
//	badfront [--ways segments,producer] [--requests 2000] [--seed 1] [--rounds 1] device/vbd/51712
//	badfront --list
//
// As a domain its arguments are the configuration's cmdline. It tells for each way how many requests it sent and how
// many were refused. Exit status: 0 if the backend answered everything, and did nothing of what it must refuse; 1 if
// not; 2 wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"morgana/xen/devxen"
	"morgana/xenstore"
)

func main() {
	names := flag.String("ways", "all", "ways to misbehave, separated by commas")
	list := flag.Bool("list", false, "list the ways")
	requests := flag.Int("requests", 2000, "requests for each way of making wrong ones")
	rounds := flag.Int("rounds", 1, "how often to go through all of it; 0: without end")
	seed := flag.Uint64("seed", 1, "of all that is drawn")
	flag.Parse()
	if *list {
		for _, w := range ways() {
			fmt.Printf("%-10s %s\n", w.name, w.about)
		}
		return
	}
	chosen, err := choose(*names)
	if err == nil && flag.NArg() != 1 {
		err = errors.New("one directory wanted, such as device/vbd/51712")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "badfront:", err)
		os.Exit(2)
	}
	if err := misbehave(flag.Arg(0), chosen, *requests, *rounds, *seed); err != nil {
		fmt.Println("badfront: FAIL:", err)
		os.Exit(1)
	}
	fmt.Println("badfront: the backend bore it all")
}

// choose finds ways by their names.
func choose(names string) ([]way, error) {
	all := ways()
	if names == "all" {
		// A domain that is gone does nothing after it: only on demand.
		return slices.DeleteFunc(all, func(w way) bool { return w.name == "vanish" }), nil
	}
	var chosen []way
	for _, n := range strings.Split(names, ",") {
		i := slices.IndexFunc(all, func(w way) bool { return w.name == n })
		if i < 0 {
			return nil, fmt.Errorf("no way is called %q; --list lists them", n)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func misbehave(path string, chosen []way, requests, rounds int, seed uint64) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	dom, err := devxen.Open()
	if err != nil {
		return err
	}
	defer dom.Close()
	f := newFront(dom, store, path, seed)
	f.start()
	begun := time.Now()
	for n := 0; n < rounds || rounds == 0; n++ {
		for _, w := range chosen {
			report, err := f.try(ctx, w, requests)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			fmt.Printf("badfront: %s: %s\n", w.name, report)
		}
	}
	fmt.Printf("badfront: %d requests, %d refused, in %v\n", f.sent, f.refused, time.Since(begun).Round(time.Millisecond))
	f.halt()
	return nil
}
