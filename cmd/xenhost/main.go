// Command xenhost boots the test bed's Xen host and gives a shell in its dom0, connected to the terminal.
//
//	xenhost [--share DIR]   DIR here is /share there; exit leaves
//	xenhost build           only makes the host, and prints its directory
//
// Exit status: 0 done, 1 it could not be built or booted, 2 wrong usage.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"morgana/tests/testbed"
)

func main() {
	share := flag.String("share", "", "directory that dom0 has as /share; a temporary one by default")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: xenhost [--share DIR] | xenhost build")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case flag.NArg() == 0:
		err = testbed.Shell(ctx, testbed.Options{Share: *share, Progress: os.Stderr})
	case flag.NArg() == 1 && flag.Arg(0) == "build":
		var dir string
		if dir, err = testbed.Build(ctx, os.Stderr); err == nil {
			fmt.Println(dir)
		}
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "xenhost:", err)
		os.Exit(1)
	}
}
