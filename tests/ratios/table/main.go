// Command table prints what benchmarks kept of every part of Morgana beside its peer.
//
//	go run ./tests/ratios/table build/reports/ratios
package main

import (
	"errors"
	"fmt"
	"os"

	"morgana/tests/ratios"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: table DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	rows, err := ratios.Read(dir)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return errors.New(dir + " has no figures; make bench makes them")
	}
	fmt.Println("\nEvery part beside its peer, each pair in one run on this machine. 2× is twice the rate or half the time.")
	fmt.Println()
	return ratios.Write(os.Stdout, rows)
}
