package main

import (
	"fmt"
	"sync/atomic"

	"morgana/xen/ring"
)

// Keys in the guest's own directory of xenstore, by which the halves find each other.
const (
	keyPage  = "data/soak/page"  // the guest's: "REF PORT"
	keyPages = "data/soak/pages" // dom0's: references of pages for the guest to map
)

// sharedPages is how many pages dom0 shares with the guest.
const sharedPages = 4

// pattern fills the pages that dom0 shares.
func pattern(page, i int) byte { return byte(page*31 + i*7) }

// page is what the halves share: counters, each on a line of its own.
type page struct {
	sent *atomic.Uint32 // dom0: the number of its last notification
	echo *atomic.Uint32 // guest: the last number that it saw
	stop *atomic.Uint32 // dom0: 1 when it will send no more
	runs *atomic.Uint32 // guest: its generation
}

func pageOf(mem []byte) (p page, err error) {
	for i, w := range []**atomic.Uint32{&p.sent, &p.echo, &p.stop, &p.runs} {
		if *w, err = ring.Word(mem, i*64); err != nil {
			return page{}, fmt.Errorf("shared page: %w", err)
		}
	}
	return p, nil
}
