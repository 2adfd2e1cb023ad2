package xenstore

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// resident is a process's resident memory, in bytes, but for files.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// A guest that takes all that its quotas allow, of everything at once, and reads nothing, costs the daemon a few times its
// quota of memory and no more; and dom0 goes on.
func TestGuestsMemoryIsBounded(t *testing.T) {
	const guests, quota = 20, 2560 << 10
	h := host(t)
	d := startOurs(t, h)
	ctx := within(t, 2*time.Minute)
	c := dial(t, ctx, h)
	for i := range xen.DomID(guests) {
		newGuest(t, ctx, c, h, i+1)
	}
	before := resident(t, d.Cmd.Process.Pid)
	token := strings.Repeat("t", 1500)
	for i := range xen.DomID(guests) {
		g, err := h.Guest(i + 1)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		gc := xenstore.NewClient(g)
		for n := 0; ; n++ { // nodes as many as it may have, small ones: those cost most beyond what counts
			if err := gc.Mkdir(ctx, fmt.Sprintf("d%d/n%d", n/50, n)); err != nil {
				break
			}
		}
		w, err := gc.Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			if err := w.Add(ctx, fmt.Sprintf("d%d", n)); err != nil {
				break
			}
		}
		for range 20 {
			tx, err := gc.Begin(ctx)
			if err != nil {
				break
			}
			for n := range 100 {
				if err := tx.Write(ctx, fmt.Sprintf("d0/n%d", n), token); err != nil {
					break
				}
			}
		}
		gc.Close() // nobody reads its ring any more
	}
	// Events for all of them, which wait to be read.
	for i := range xen.DomID(guests) {
		for n := range 950 {
			if err := c.Write(ctx, fmt.Sprintf("%s/d%d/n%d", xs.DomainPath(i+1), n/50, n), "x"); err != nil {
				t.Fatal(err)
			}
		}
	}
	after := resident(t, d.Cmd.Process.Pid)
	each := (after - before) / guests
	t.Logf("%d kB before, %d kB after: %d kB for each guest", before>>10, after>>10, each>>10)
	if each > 3*quota {
		t.Errorf("each guest costs %d kB, its quota is %d kB", each>>10, quota>>10)
	}
	s, err := c.Control(ctx, "quota", "1")
	if err != nil || !strings.Contains(s, "memory") {
		t.Errorf("quota: %q, %v", s, err)
	}
	t.Logf("%s", s)
	// They die, and all of it is free again.
	for i := range xen.DomID(guests) {
		if err := h.Destroy(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Exception(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, err := c.Control(ctx, "stats")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(s, "domains 1\n") && strings.Contains(s, "watches 0\n") && strings.Contains(s, "transactions 0\n") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("something of them is left:\n%s", s)
		}
	}
}
