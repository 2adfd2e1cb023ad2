// Storelatency reads a node of xenstore again and again for a time, and prints what a read took: half of them, 99 of
// 100, and the worst, in microseconds.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"morgana/xenstore"
)

func main() {
	length := 5 * time.Second
	if len(os.Args) > 1 {
		d, err := time.ParseDuration(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		length = d
	}
	if err := run(context.Background(), length); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, length time.Duration) error {
	c, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var took []time.Duration
	for begun := time.Now(); time.Since(begun) < length; {
		t := time.Now()
		if _, err := c.Read(ctx, "/local/domain/0/name"); err != nil {
			return err
		}
		took = append(took, time.Since(t))
	}
	slices.Sort(took)
	fmt.Println(took[len(took)/2].Microseconds(), took[len(took)*99/100].Microseconds(), took[len(took)-1].Microseconds())
	return nil
}
