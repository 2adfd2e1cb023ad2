// Command runtimecheck checks that all of Go works in a domain, then ends in the way that its argument names. It is an
// ordinary program: on Linux it does the same.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
)

// ends are the ways to go.
var ends = map[string]func(){
	"ok":       func() {},
	"exit0":    func() { os.Exit(0) },
	"exit3":    func() { os.Exit(3) },
	"panic":    panics,
	"nil":      func() { fmt.Println(deref(nil)) },
	"overflow": func() { debug.SetMaxStack(4 << 20); fmt.Println(overflow(1)) },
	"deadlock": func() { select {} },
	"maprace":  mapRace,
	"oom":      outOfMemory,
	"hostile":  hostile,
}

func main() {
	if len(os.Args) < 2 || ends[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: runtimecheck ok|exit0|exit3|panic|nil|overflow|deadlock|maprace|oom|hostile")
		os.Exit(2)
	}
	debug.SetMemoryLimit(48 << 20)
	if os.Args[1] == "ok" {
		bad := 0
		for _, c := range checks {
			if err := c.run(); err != nil {
				fmt.Printf("FAIL %s: %v\n", c.name, err)
				bad++
				continue
			}
			fmt.Println("ok  ", c.name)
		}
		if bad > 0 {
			os.Exit(1)
		}
		fmt.Println("all done")
	}
	ends[os.Args[1]]()
}

func args() error {
	if len(os.Args) == 3 && os.Args[2] != "two words" || len(os.Args) > 3 {
		return fmt.Errorf("%q", os.Args)
	}
	if v, ok := os.LookupEnv("CHECK"); ok && v != "yes" {
		return fmt.Errorf("CHECK is %q", v)
	}
	if slices.Contains(os.Args, "") {
		return fmt.Errorf("an empty argument in %q", os.Args)
	}
	return nil
}
