package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"morgana/unikernel"
	"morgana/xen"
	"morgana/xen/devxen"
	"morgana/xenstore"
)

// A guest is one generation of the domain's half.
type guest struct {
	mem   memory
	head  head
	store *xenstore.Client // nil on Linux
	dom   *devxen.Domain   // nil on Linux
	event xen.Event
	page  page

	fatal chan error // the first thing that was not as it should be
	steps atomic.Uint64
}

func (g *guest) fail(err error) {
	select {
	case g.fatal <- err:
	default:
	}
}

// endure is the domain's half.
func endure(ctx context.Context, length time.Duration, restarts, goroutines int) error {
	if restarts > 0 {
		if err := unikernel.RestartOnFatal(true); err != nil {
			return err
		}
	}
	unikernel.SetLimits()
	mem, err := openMemory()
	if err != nil {
		return err
	}
	g := &guest{mem: mem, fatal: make(chan error, 1)}
	if err := g.begin(); err != nil {
		return g.giveUp(err)
	}
	if unikernel.OnXen() {
		if err := g.connect(ctx); err != nil {
			return g.giveUp(err)
		}
	}
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	g.load(run, &wg, goroutines)
	end := time.After(length)
	if restarts > 0 {
		end = nil
		if g.head.generation < uint64(restarts) {
			go g.restartSoon(g.head.generation)
		} else {
			end = time.After(time.Second) // the last generation has a little to do too
		}
	}
	before := usage{}
	warm := time.After(length / 4)
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-g.fatal:
			return g.giveUp(err)
		case <-warm:
			before = measure()
		case <-tick.C:
			fmt.Printf("soak: generation %d, %d steps, %v\n", g.head.generation, g.steps.Load(), measure())
		case <-end:
			after := measure()
			cancel()
			wg.Wait()
			select {
			case err := <-g.fatal:
				return g.giveUp(err)
			default:
			}
			if err := g.finish(ctx); err != nil {
				return err
			}
			fmt.Printf("soak: %d generations, longest restart %v, %d steps in the last, %v\n",
				g.head.generation+1, time.Duration(g.head.worst), g.steps.Load(), after)
			if restarts == 0 {
				return after.grownFrom(before)
			}
			return nil
		}
	}
}

// giveUp ends the domain with an error, whatever generation it is.
func (g *guest) giveUp(err error) error {
	_ = unikernel.RestartOnFatal(false)
	return err
}

// From generation steady on memory must not grow: by then the kernel has the pages that it keeps for reuse, but for
// slack of them. A page lost in each of 70 restarts is more.
const (
	steady = 20
	slack  = 40
)

// begin checks what the last generation left.
func (g *guest) begin() error {
	now := time.Now().UnixNano()
	n := uint64(unikernel.Generation())
	if n == 0 {
		g.mem.fill()
		g.mem.setHead(head{})
		return nil
	}
	g.head = g.mem.head()
	if err := g.mem.check(); err != nil {
		return err
	}
	if n != g.head.generation+1 {
		return fmt.Errorf("generation %d follows %d", n, g.head.generation)
	}
	g.head.generation = n
	took := now - g.head.restartedAt
	g.head.worst = max(g.head.worst, took)
	if took > int64(10*time.Second) {
		return fmt.Errorf("restart %d took %v", n, time.Duration(took))
	}
	c := unikernel.Counters()
	if n == steady {
		g.head.freeAt, g.head.grantsAt, g.head.vmasAt = c.FreePages, c.GrantsShared, c.VMAs
	}
	if n > steady && (c.FreePages+slack < g.head.freeAt || c.GrantsShared != g.head.grantsAt || c.VMAs > g.head.vmasAt+4) {
		return fmt.Errorf("it grows: generation %d has %d free pages, %d grants, %d ranges; generation %d had %d, %d, %d",
			n, c.FreePages, c.GrantsShared, c.VMAs, steady, g.head.freeAt, g.head.grantsAt, g.head.vmasAt)
	}
	if c.GrantsMapped != 0 {
		return fmt.Errorf("generation %d begins with %d grants of others mapped", n, c.GrantsMapped)
	}
	g.mem.setHead(g.head)
	return nil
}

// connect makes the page and the channel that dom0 drives, or takes those of the last generation.
func (g *guest) connect(ctx context.Context) (err error) {
	if g.store, err = xenstore.Dial(ctx); err != nil {
		return err
	}
	if g.dom, err = devxen.Open(); err != nil {
		return err
	}
	if g.page, err = pageOf(g.mem[:xen.PageSize]); err != nil {
		return err
	}
	if g.head.ref == 0 {
		if g.head.ref, err = unikernel.ShareArena(g.mem[:xen.PageSize], 0, xen.ReadWrite); err != nil {
			return err
		}
		if g.event, err = g.dom.Listen(0); err != nil {
			return err
		}
		g.head.port = g.event.Port()
		if err := unikernel.KeepEvent(g.head.port, true); err != nil {
			return err
		}
		g.mem.setHead(g.head)
	} else if g.event, err = g.dom.Adopt(g.head.port); err != nil {
		return err
	}
	g.page.runs.Store(uint32(g.head.generation))
	return g.store.Write(ctx, keyPage, fmt.Sprint(g.head.ref, g.head.port))
}

// echo answers dom0's notifications until ctx ends.
func (g *guest) echo(ctx context.Context) {
	for {
		g.page.echo.Store(g.page.sent.Load())
		if err := g.event.Notify(); err != nil {
			g.fail(err)
			return
		}
		if err := g.event.Wait(ctx); err != nil {
			if ctx.Err() == nil {
				g.fail(err)
			}
			return
		}
	}
}

// finish tells dom0 that it is over, and waits until it has let go of the page.
func (g *guest) finish(ctx context.Context) error {
	if err := g.mem.check(); err != nil || g.store == nil {
		return err
	}
	g.page.stop.Store(1)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	go g.echo(ctx) // dom0 may still wait for the last one
	if err := g.store.Write(ctx, keyPage, "done"); err != nil {
		return err
	}
	for {
		err := unikernel.EndShare(g.head.ref)
		if err == nil {
			return nil
		}
		if !errors.Is(err, xen.ErrInUse) || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A dying generation lives a little longer than the others: the kernel gives up after five deaths within 10 s, and a
// fast machine gets through thirty generations in that time.
const deathsApart = 2500 * time.Millisecond

// restartSoon ends this generation in the middle of its work: most by request, some by a death.
func (g *guest) restartSoon(n uint64) {
	for g.dom != nil && g.page.sent.Load() == 0 {
		time.Sleep(10 * time.Millisecond) // dom0 has not begun
	}
	time.Sleep(time.Duration(50+n*37%200) * time.Millisecond)
	if dies(n) {
		time.Sleep(deathsApart)
	}
	g.head.restartedAt = time.Now().UnixNano()
	g.mem.setHead(g.head)
	switch n % 30 {
	case 5:
		panic("a panic of the soak's")
	case 15:
		var p *int
		fmt.Println(*p)
	case 25:
		os.Exit(3)
	}
	g.fail(unikernel.Restart())
}

// dies says whether generation n ends by a death instead of a request.
func dies(n uint64) bool { return n%10 == 5 }
