// Command ticker tells the time every quarter of a second until it is told to end: a program for tests of a domain's
// life. It writes data/ticker in xenstore when it starts.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"morgana/xenstore"
)

func main() {
	end := make(chan os.Signal, 1)
	if len(os.Args) < 2 || os.Args[1] != "deaf" {
		signal.Notify(end, syscall.SIGTERM)
	}
	if err := tell(context.Background()); err != nil {
		fmt.Println("ticker:", err)
		os.Exit(1)
	}
	start := time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	for n := 1; ; n++ {
		select {
		case <-tick.C:
			fmt.Printf("tick %d unix %d up %d\n", n, time.Now().UnixMilli(), time.Since(start).Milliseconds())
		case s := <-end:
			fmt.Println("ends on", s)
			return
		}
	}
}

// tell says in xenstore that the program runs.
func tell(ctx context.Context) error {
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	return store.Write(ctx, "data/ticker", "running")
}
