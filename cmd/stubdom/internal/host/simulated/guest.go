package simulated

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xen/blkfront"
	"morgana/xen/xenbus/xenbustest"
)

// Guest is a guest that works on its disk: it knows what it wrote, and so what has to be there.
type Guest struct {
	Name   string
	Volume string // of the group

	h      *Host
	dom    *domain
	device xenbustest.Device
	disk   *blkfront.Disk
	done   atomic.Uint64 // requests

	stop func() // ends Work; set once it was started

	mu   sync.Mutex // held by who writes, or looks at want
	want []byte     // what is on the disk, if every write is
	rnd  *rand.Rand
}

// NewGuest makes a guest whose disk is to be a volume.
func (h *Host) NewGuest(ctx context.Context, name, volume string) (*Guest, error) {
	d, err := h.newDomain(ctx, name, model.Guest)
	if err != nil {
		return nil, err
	}
	d.entered = 1
	g := &Guest{
		Name: name, Volume: volume, h: h, dom: d, rnd: rand.New(rand.NewPCG(uint64(d.ID()), 7)), stop: func() {},
		device: xenbustest.Device{
			Class: "vbd", Frontend: d.ID(), Backend: h.storage.dom.ID(), Number: diskNode,
			Nodes: map[string]string{"params": GroupName + "/" + volume, "mode": "w"},
		},
	}
	h.mu.Lock()
	h.guests = append(h.guests, g)
	h.mu.Unlock()
	return g, nil
}

// Boot attaches the guest's disk and returns when the guest has read all of it.
func (g *Guest) Boot(ctx context.Context) (err error) {
	d := g.dom
	if err := g.h.tools.Attach(ctx, &g.device); err != nil {
		return err
	}
	d.print(g.Name + ": a guest of the simulator, with a disk of its own")
	if g.disk, err = blkfront.Open(ctx, blkfront.Config{Store: d.store, Domain: d, Path: fmt.Sprintf("device/vbd/%d", diskNode)}); err != nil {
		return err
	}
	g.want = make([]byte, g.disk.Size())
	if _, err := g.disk.ReadAt(g.want, 0); err != nil {
		return err
	}
	d.print(fmt.Sprintf("%s: xvda has %d MiB, all of it was read", g.Name, g.disk.Size()>>20))
	g.h.part(g.Name+"'s terminal", g.terminal)
	return nil
}

// Sum is the checksum of all that the guest's disk has, as the guest knows it.
func (g *Guest) Sum() [sha256.Size]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return sha256.Sum256(g.want)
}

// Fill writes random data to all of the disk, and flushes it.
func (g *Guest) Fill(ctx context.Context) error {
	const piece = 256 << 10
	g.mu.Lock()
	defer g.mu.Unlock()
	var source [32]byte
	source[0] = byte(g.dom.ID())
	stream := rand.NewChaCha8(source)
	for off := 0; off < len(g.want) && ctx.Err() == nil; off += piece {
		b := g.want[off:min(off+piece, len(g.want))]
		_, _ = stream.Read(b) // never fails
		if _, err := g.disk.WriteAt(b, int64(off)); err != nil {
			return err
		}
		g.done.Add(1)
	}
	if err := errors.Join(context.Cause(ctx), g.disk.Flush()); err != nil {
		return err
	}
	g.dom.print(fmt.Sprintf("%s: %d MiB written and flushed", g.Name, len(g.want)>>20))
	return nil
}

// Verify reads all of the disk and compares it with what was written.
func (g *Guest) Verify() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := make([]byte, len(g.want))
	if _, err := g.disk.ReadAt(b, 0); err != nil {
		return err
	}
	for i := range b {
		if b[i] != g.want[i] {
			return fmt.Errorf("guest %s: byte %d of its disk is %#x, it wrote %#x", g.Name, i, b[i], g.want[i])
		}
	}
	g.dom.print(g.Name + ": all that was written is there")
	return nil
}

// Work has the guest work until the host's end or Rest: it reads and writes by ups and downs, tells xenstore how it goes,
// and says a word now and then.
func (g *Guest) Work() {
	ctx, cancel := context.WithCancel(g.h.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.work(ctx); err != nil && ctx.Err() == nil {
			g.dom.print(fmt.Sprintf("%s: %v", g.Name, err))
			g.h.say(fmt.Sprintf("guest %s: %v", g.Name, err))
		}
	})
	g.h.mu.Lock()
	g.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	g.h.mu.Unlock()
}

// Rest ends Work.
func (g *Guest) Rest() {
	g.h.mu.Lock()
	stop := g.stop
	g.h.mu.Unlock()
	stop()
}

// period is that of a guest's ups and downs.
const period = 40 * time.Second

func (g *Guest) work(ctx context.Context) error {
	begun := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		at := time.Since(begun)
		// Between 2 and 40 requests every 20 ms; guests are not in step.
		swing := math.Sin(2*math.Pi*(at.Seconds()/period.Seconds()) + float64(g.dom.ID()))
		if err := g.burst(2 + int(19*(1+swing))); err != nil {
			return err
		}
		if n%50 == 0 {
			if err := g.dom.store.Write(ctx, "data/requests", strconv.FormatUint(g.done.Load(), 10)); err != nil {
				return err
			}
			if _, err := g.dom.store.List(ctx, "device/vbd"); err != nil {
				return err
			}
		}
		if n%25 == 24 {
			g.dom.print(fmt.Sprintf("%s: %8d requests, %3.0f s", g.Name, g.done.Load(), at.Seconds()))
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// burst does some requests at random places: reads, of which each is checked, and writes. Now and then it flushes.
func (g *Guest) burst(n int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	buf := make([]byte, 64<<10)
	for range n {
		size := 512 << g.rnd.IntN(8)
		off := g.rnd.IntN(len(g.want)/512-size/512) * 512
		b := buf[:size]
		switch k := g.rnd.IntN(32); {
		case k < 20:
			if _, err := g.disk.ReadAt(b, int64(off)); err != nil {
				return err
			}
			if !bytes.Equal(b, g.want[off:off+size]) {
				return fmt.Errorf("what was read at byte %d is not what was written", off)
			}
		case k < 31:
			for i := range b {
				b[i] = byte(g.rnd.Uint32())
			}
			if _, err := g.disk.WriteAt(b, int64(off)); err != nil {
				return err
			}
			copy(g.want[off:], b)
		default:
			if err := g.disk.Flush(); err != nil {
				return err
			}
		}
		g.done.Add(1)
	}
	return nil
}

// terminal answers what is typed at the guest's console.
func (g *Guest) terminal() error {
	g.h.mu.Lock()
	front := g.dom.front
	g.h.mu.Unlock()
	if front == nil {
		return nil
	}
	lines := bufio.NewScanner(readerFunc(func(b []byte) (int, error) {
		n, err := front.Read(b)
		for i := range b[:n] {
			if b[i] == '\r' {
				b[i] = '\n'
			}
		}
		if n > 0 {
			_, _ = g.dom.Write(b[:n]) // what is typed is shown
		}
		return n, err
	}))
	for lines.Scan() {
		switch word := strings.TrimSpace(lines.Text()); word {
		case "":
		case "help":
			g.dom.print("help    these words\nstat    requests so far\nverify  read all of the disk and compare it")
		case "stat":
			g.dom.print(fmt.Sprintf("%d requests", g.done.Load()))
		case "verify":
			if err := g.Verify(); err != nil {
				g.dom.print(err.Error())
			}
		default:
			g.dom.print(fmt.Sprintf("%q is not known here; help is", word))
		}
	}
	return lines.Err()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// EndGuest ends a guest's work, flushes and detaches its disk, and ends the guest, as a shutdown does.
func (h *Host) EndGuest(ctx context.Context, g *Guest) error {
	g.Rest()
	g.dom.print(g.Name + ": bye")
	if err := g.disk.Flush(); err != nil {
		return err
	}
	if err := g.disk.Close(); err != nil {
		return err
	}
	if err := h.tools.Detach(ctx, &g.device); err != nil {
		return err
	}
	return h.destroy(ctx, g.dom)
}

// Requests is how many requests all guests have made.
func (h *Host) Requests() (n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.guests {
		n += g.done.Load()
	}
	return n
}
