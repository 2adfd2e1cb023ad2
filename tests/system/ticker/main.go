// Command ticker tells the time every quarter of a second until it is told to end: a program for tests of a domain's
// life.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	end := make(chan os.Signal, 1)
	if len(os.Args) < 2 || os.Args[1] != "deaf" {
		signal.Notify(end, syscall.SIGTERM)
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
