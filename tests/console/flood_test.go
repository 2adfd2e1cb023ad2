package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"morgana/tests/xenstore/peers"
	"morgana/xen"
	"morgana/xen/wire/console"
)

// A guest floods 200 MB with nobody attached: it is never blocked, and the log has every byte. Another guest's lines
// come through meanwhile without delay.
func TestFlood(t *testing.T) {
	h := newHost(t)
	h.ours("--log=guest", "--rate=0")
	g, quiet := h.guest(5, "flood"), h.guest(6, "quiet")
	h.terminal(5, "")
	h.terminal(6, "")
	const size = 200e6
	block := pattern(1, 1<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	want := sha256.New()
	var took time.Duration
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		begun := time.Now()
		for left := int(size); left > 0; {
			n := min(left, len(block))
			want.Write(block[:n])
			if m, err := g.Write(ctx, block[:n]); err != nil {
				t.Errorf("the guest is blocked after %d bytes: %v", size-left+m, err)
				return
			}
			left -= n
		}
		took = time.Since(begun)
	}()
	var worst time.Duration
	lines := 0
	for ended := false; !ended; lines++ {
		begun := time.Now()
		h.say(quiet, fmt.Appendf(nil, "line %d\n", lines))
		if err := quiet.Drained(ctx); err != nil {
			t.Fatal(err)
		}
		worst = max(worst, time.Since(begun))
		select {
		case <-flooded:
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	if t.Failed() {
		return
	}
	eventually(t, "the log", func() bool {
		fi, err := os.Stat(h.logFile("flood"))
		return err == nil && fi.Size() >= size
	})
	f, err := os.Open(h.logFile("flood"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := sha256.New()
	if n, err := io.Copy(got, f); err != nil || n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("the log has %d bytes (%v) or others", n, err)
	}
	t.Logf("%.1f MB/s; %d lines of another guest, taken after %v at the worst", size/1e6/took.Seconds(), lines, worst)
	if worst > 2*time.Second {
		t.Errorf("another guest waited %v", worst)
	}
}

// The rate bounds what a guest can write, and it waits for nothing else.
func TestRate(t *testing.T) {
	h := newHost(t)
	h.ours("--rate=1M")
	g := h.guest(5, "one")
	h.terminal(5, "")
	begun := time.Now()
	h.say(g, make([]byte, 2<<20))
	if took := time.Since(begun); took < 1500*time.Millisecond || took > 10*time.Second {
		t.Errorf("2 MiB at 1 MiB/s took %v", took)
	}
}

// Impossible indexes harm only the guest that wrote them, and only as long as they are there.
func TestHostileIndexes(t *testing.T) {
	h := newHost(t)
	h.ours("--log=guest")
	bad, good := h.guest(5, "bad"), h.guest(6, "good")
	h.terminal(5, "")
	h.terminal(6, "")
	le := binary.LittleEndian
	h.say(bad, []byte("before "))
	if err := bad.Drained(within(t)); err != nil {
		t.Fatal(err)
	}
	for i, v := range []uint32{1 << 31, ^uint32(0), 1 << 16, console.OutSize + 8} {
		old := le.Uint32(bad.Page[console.OutProd:])
		le.PutUint32(bad.Page[console.OutProd:], v)
		le.PutUint32(bad.Page[console.InCons:], v)
		bad.Notify()
		line := fmt.Sprintf("line %d\n", i)
		h.say(good, []byte(line))
		eventually(t, "the other guest's log", func() bool { return bytes.HasSuffix(read(t, h.logFile("good")), []byte(line)) })
		le.PutUint32(bad.Page[console.OutProd:], old)
		le.PutUint32(bad.Page[console.InCons:], 0)
	}
	// The consumer's index, which is the service's, is the guest's to spoil.
	le.PutUint32(bad.Page[console.OutCons:], le.Uint32(bad.Page[console.OutProd:])-100)
	bad.Notify()
	if err := bad.Drained(within(t)); err != nil {
		t.Fatal(err)
	}
	// What was written anew from the beginning, as after a reset of the domain, is served.
	copy(bad.Page, make([]byte, xen.PageSize))
	again, err := h.Console(5)
	if err == nil {
		t.Cleanup(again.Close)
		h.say(again, []byte("after"))
		eventually(t, "the log", func() bool { return bytes.HasSuffix(read(t, h.logFile("bad")), []byte("after")) })
	} else {
		t.Error(err)
	}
}

// A guest that changes its page all the time is the only one who suffers.
func TestScribbling(t *testing.T) {
	h := newHost(t)
	h.ours("--log=guest", "--rate=1M")
	bad, good := h.guest(5, "bad"), h.guest(6, "good")
	h.terminal(5, "")
	h.terminal(6, "")
	stop := make(chan struct{})
	var scribbling sync.WaitGroup
	scribbling.Go(func() {
		for i := uint32(0); ; i = i*1664525 + 1013904223 {
			select {
			case <-stop:
				return
			default:
			}
			binary.LittleEndian.PutUint32(bad.Page[console.InCons+4*(i>>30):], i>>(i>>27))
			if i&0xff00 == 0 {
				bad.Notify()
				time.Sleep(10 * time.Microsecond)
			}
		}
	})
	all := pattern(1, 1<<20)
	h.say(good, all)
	eventually(t, "the log", func() bool { return len(read(t, h.logFile("good"))) >= len(all) })
	if got := read(t, h.logFile("good")); !bytes.Equal(got, all) {
		t.Error(differ(got, all))
	}
	close(stop)
	scribbling.Wait()
}

// 64 guests write at once, with times: no line is torn or mixed up, and each has a time.
func TestManyGuests(t *testing.T) {
	h := newHost(t)
	h.ours("--log=guest", "--timestamp=guest")
	const guests, lines = 64, 200
	var writing sync.WaitGroup
	for i := range guests {
		g := h.guest(xen.DomID(1+i), fmt.Sprintf("g%d", i))
		writing.Go(func() { scrappy(t, g, i, lines) })
	}
	writing.Wait()
	for i := range guests {
		h.checkLines(fmt.Sprintf("g%d", i), i, lines)
	}
}

// scrappy writes lines in pieces.
func scrappy(t *testing.T, g *peers.Console, guest, lines int) {
	for i := range lines {
		text := fmt.Appendf(nil, "guest %d line %d end\r\n", guest, i)
		for len(text) > 0 {
			n := min(len(text), 1+(i*7+guest)%9)
			if _, err := g.Write(within(t), text[:n]); err != nil {
				t.Error(err)
				return
			}
			text = text[n:]
		}
	}
}

func (h *host) checkLines(name string, guest, lines int) {
	h.t.Helper()
	last := fmt.Appendf(nil, "guest %d line %d end\r\n", guest, lines-1)
	eventually(h.t, "the log of "+name, func() bool { return bytes.HasSuffix(read(h.t, h.logFile(name)), last) })
	got := bytes.SplitAfter(read(h.t, h.logFile(name)), []byte("\n"))
	if !bytes.HasSuffix(got[0], []byte("Logfile Opened\n")) {
		h.t.Errorf("%s begins with %q", name, got[0])
	}
	for i, line := range got[1 : len(got)-1] {
		at := stamp.FindIndex(line)
		if at == nil || at[0] != 0 || string(line[at[1]:]) != fmt.Sprintf("guest %d line %d end\r\n", guest, i) {
			h.t.Errorf("%s line %d: %q", name, i, line)
			return
		}
	}
}

// Two guests write their lines in turns, piece by piece: each line has one time, at its beginning. Xen's daemon shares
// one flag among all guests, and misplaces them.
func TestTimesOfInterleavedLines(t *testing.T) {
	h := newHost(t)
	h.ours("--log=guest", "--timestamp=guest")
	a, b := h.guest(5, "a"), h.guest(6, "b")
	h.terminal(5, "")
	h.terminal(6, "")
	for i := range 50 {
		for _, piece := range []string{"guest %d ", "line ", fmt.Sprint(i), " end\r", "\n"} {
			for guest, g := range []*peers.Console{a, b} {
				text := piece
				if piece == "guest %d " {
					text = fmt.Sprintf(piece, guest)
				}
				h.say(g, []byte(text))
				if err := g.Drained(within(t)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	h.checkLines("a", 0, 50)
	h.checkLines("b", 1, 50)
}

// Guests that all flood at once get about the same.
func TestFloodsAreFair(t *testing.T) {
	h := newHost(t)
	d := h.ours("--log=guest", "--rate=0")
	const guests = 8
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []*peers.Console
	for i := range guests {
		all = append(all, h.guest(xen.DomID(5+i), fmt.Sprintf("g%d", i)))
		h.terminal(xen.DomID(5+i), "")
	}
	wrote := make([]int, guests)
	block := pattern(1, 64<<10)
	end, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	var flooding sync.WaitGroup
	for i, g := range all {
		flooding.Go(func() {
			for end.Err() == nil {
				n, err := g.Write(end, block)
				wrote[i] += n
				if err != nil && end.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	flooding.Wait()
	least, most := slices.Min(wrote), slices.Max(wrote)
	status := read(t, fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	_, rss, _ := bytes.Cut(status, []byte("VmRSS:"))
	rss, _, _ = bytes.Cut(rss, []byte("\n"))
	t.Logf("from %d to %d KiB each; the daemon has %s", least>>10, most>>10, bytes.TrimSpace(rss))
	if least*3 < most {
		t.Errorf("one wrote %d bytes, another one %d", least, most)
	}
}
