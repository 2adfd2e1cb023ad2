package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"morgana/xen"
	"morgana/xen/devxen"
	"morgana/xenstore"
)

const (
	burst    = 250              // notifications before the echo of the last is awaited
	patience = 30 * time.Second // an echo that takes longer is lost
)

// drive notifies the guest for a time, and checks that the last notification of each burst is seen.
func drive(ctx context.Context, domain int, length time.Duration) (err error) {
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	dom, err := devxen.Open()
	if err != nil {
		return err
	}
	defer dom.Close()
	home := fmt.Sprintf("/local/domain/%d/", domain)
	guest := xen.DomID(domain)

	// Pages for the guest to map.
	g, err := dom.Share(guest, sharedPages, xen.ReadWrite)
	if err != nil {
		return err
	}
	mem := g.Bytes()
	for i := range mem {
		mem[i] = pattern(i/xen.PageSize, i%xen.PageSize)
	}
	refs := strings.Trim(fmt.Sprint(g.Refs()), "[]")
	if err := store.Write(ctx, home+keyPages, refs); err != nil {
		return err
	}

	var ref xen.GrantRef
	var port xen.Port
	if err := waitFor(ctx, store, home+keyPage, func(v string) bool {
		n, _ := fmt.Sscan(v, &ref, &port)
		return n == 2
	}); err != nil {
		return err
	}
	m, err := dom.Map(guest, []xen.GrantRef{ref}, xen.ReadWrite)
	if err != nil {
		return err
	}
	defer m.Close()
	p, err := pageOf(m.Bytes())
	if err != nil {
		return err
	}
	ev, err := dom.Connect(guest, port)
	if err != nil {
		return err
	}
	defer ev.Close()

	var trips []time.Duration
	sent := uint32(0)
	start := time.Now()
	for time.Since(start) < length && p.stop.Load() == 0 {
		for range burst {
			sent++
			p.sent.Store(sent)
			if err := ev.Notify(); err != nil {
				return err
			}
		}
		t := time.Now()
		wait, cancel := context.WithTimeout(ctx, patience)
		for p.echo.Load() != sent {
			if err := ev.Wait(wait); err != nil {
				cancel()
				return fmt.Errorf("notification %d was lost, the guest saw %d (generation %d): %w", sent, p.echo.Load(), p.runs.Load(), err)
			}
		}
		cancel()
		trips = append(trips, time.Since(t))
	}
	took := time.Since(start)
	p.stop.Store(1)
	if err := ev.Notify(); err != nil {
		return err
	}
	slices.Sort(trips)
	mean := time.Duration(0)
	for _, d := range trips {
		mean += d / time.Duration(len(trips))
	}
	fmt.Printf("dom0: %d events in %v, %.0f a second; echo of a burst: mean %v, 99 of 100 %v, worst %v; lost 0; generations %d\n",
		sent, took.Round(time.Millisecond), float64(sent)/took.Seconds(), mean.Round(time.Microsecond),
		trips[len(trips)*99/100].Round(time.Microsecond), trips[len(trips)-1].Round(time.Microsecond), p.runs.Load())
	return done(ctx, store, home, g)
}

// done waits until the guest has told that it is through, and wants our pages back: a guest that restarted in the
// middle of everything must not have kept them.
func done(ctx context.Context, store *xenstore.Client, home string, g xen.Grant) error {
	if err := waitFor(ctx, store, home+keyPage, func(v string) bool { return v == "done" }); err != nil {
		return err
	}
	if err := g.Close(); err != nil {
		return fmt.Errorf("the guest keeps pages of ours mapped: %w", err)
	}
	return nil
}

// waitFor waits until the value at path is as wanted.
func waitFor(ctx context.Context, store *xenstore.Client, path string, wanted func(string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	w, err := store.Watch(ctx, path)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		v, err := store.Read(ctx, path)
		if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
			return err
		}
		if err == nil && wanted(v) {
			return nil
		}
		if _, err := w.Next(ctx); err != nil {
			return fmt.Errorf("waiting for %s, which is %q: %w", path, v, err)
		}
	}
}
