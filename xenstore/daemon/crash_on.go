//go:build crashtest

package daemon

import (
	"fmt"
	"os"
	"strconv"
)

const canCrash = true

// crashAfter is how many more points are passed; 0 for no end.
var crashAfter, crashHow int

// crashIn takes CONTROL crash [POINTS [HOW]]: die at the given point from now on, by a panic, a nil pointer, an exit. The
// first that counts is behind the journal: before it the request would be read again after the restart, for ever.
func (d *Daemon) crashIn(args []string) {
	crashAfter, crashHow = 1, 0
	for i, p := range []*int{&crashAfter, &crashHow} {
		if i < len(args) {
			*p, _ = strconv.Atoi(args[i])
		}
	}
	crashAfter++
}

// crashPoint is one of the places where the service may die.
func crashPoint() {
	if crashAfter == 0 {
		return
	}
	if crashAfter--; crashAfter > 0 {
		return
	}
	switch crashHow {
	case 1:
		var p *int
		fmt.Println(*p)
	case 2:
		os.Exit(3)
	}
	panic("CONTROL crash")
}
