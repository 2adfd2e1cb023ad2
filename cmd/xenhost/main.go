// Command xenhost boots the test bed's Xen host and gives a shell in its dom0.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"morgana/tests/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) == 2 && os.Args[1] == "build" {
		dir, err := testbed.Build(ctx, os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, "xenhost:", err)
			os.Exit(1)
		}
		fmt.Println(dir)
		return
	}
	if err := testbed.Shell(ctx, testbed.Options{Progress: os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, "xenhost:", err)
		os.Exit(1)
	}
}
