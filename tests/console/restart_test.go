package console

import (
	"bytes"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"morgana/tests/xenstore/peers"
	"morgana/xen"
)

// pattern is n bytes of numbered lines.
func pattern(guest, n int) []byte {
	b := make([]byte, 0, n+64)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "guest %d line %08d of the flood\n", guest, i)
	}
	return b[:n]
}

// differ says where two logs differ.
func differ(got, want []byte) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	cut := func(b []byte) []byte { return b[min(i, len(b)):min(i+80, len(b))] }
	return fmt.Sprintf("%d bytes, want %d; at %d: %q, want %q", len(got), len(want), i, cut(got), cut(want))
}

// The daemon is killed again and again while guests write: the logs have every byte, once.
func TestKilledWhileGuestsWrite(t *testing.T) {
	h := newHost(t)
	d := h.ours("--log=guest", "--rate=0", "--rotate-size=2M", "--rotate-keep=1000")
	const guests, size = 3, 8 << 20
	var all []*peers.Console
	for i := range guests {
		all = append(all, h.guest(xen.DomID(5+i), fmt.Sprintf("g%d", i)))
		h.terminal(xen.DomID(5+i), "")
	}
	var writing sync.WaitGroup
	done := make(chan struct{})
	for i, g := range all {
		writing.Go(func() {
			if n, err := g.Write(within(t), pattern(i, size)); err != nil {
				t.Errorf("guest %d wrote %d bytes: %v", i, n, err)
			}
		})
	}
	go func() {
		writing.Wait()
		close(done)
	}()
	kills := 0
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-time.After(time.Duration(60+kills*37%50) * time.Millisecond):
			d.stop(syscall.SIGKILL)
			kills++
			d = h.ours("--log=guest", "--rate=0", "--rotate-size=2M", "--rotate-keep=1000")
		}
	}
	t.Logf("%d kills", kills)
	if kills < 3 {
		t.Errorf("the daemon was killed %d times only", kills)
	}
	for i, g := range all {
		if err := g.Drained(within(t)); err != nil {
			t.Fatal(err)
		}
		want := pattern(i, size)
		name := fmt.Sprintf("g%d", i)
		eventually(t, "the log of "+name, func() bool { return len(h.rotatedLog(name)) >= len(want) })
		if got := h.rotatedLog(name); !bytes.Equal(got, want) {
			t.Errorf("%s: %s", name, differ(got, want))
		}
	}
}

// rotatedLog is the log of a guest with the files that it was rotated to.
func (h *host) rotatedLog(name string) (all []byte) {
	file := h.logFile(name)
	old := 0
	for len(read(h.t, fmt.Sprintf("%s.%d", file, old+1))) > 0 {
		old++
	}
	for ; old > 0; old-- {
		all = append(all, read(h.t, fmt.Sprintf("%s.%d", file, old))...)
	}
	return append(all, read(h.t, file)...)
}
