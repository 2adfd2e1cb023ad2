package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
	"morgana/unikernel/measure"
	"morgana/xen"
	"morgana/xen/devxen"
	"morgana/xenstore"
)

// memoryMiB is what both guests have.
const memoryMiB = 256

// Machine runs the figures of the static program (an ELF file) as a unikernel and in a Linux guest, in turn, and
// returns the best of each.
func Machine(ctx context.Context, h *testbed.Host, program []byte, runs, rounds int) (ours, peers []measure.Figure, err error) {
	kernel, _, err := image.Join(program, image.Options{Name: FiguresWord})
	if err != nil {
		return nil, nil, err
	}
	f, err := os.CreateTemp(h.Share, "figures-*.elf")
	if err != nil {
		return nil, nil, err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(kernel); err != nil {
		f.Close()
		return nil, nil, err
	}
	if err := f.Close(); err != nil {
		return nil, nil, err
	}
	args := FiguresWord + " " + strconv.Itoa(rounds)
	unikernel := testbed.DomainConfig{Name: "bench-unikernel", Kernel: f.Name(), MemoryMiB: memoryMiB, Cmdline: args}
	linux, err := h.StockGuest(ctx, "bench-linux", "pvh", "/program "+args, testbed.Files{"program": program})
	if err != nil {
		return nil, nil, err
	}
	linux.MemoryMiB = memoryMiB
	for range runs {
		for _, side := range []struct {
			config testbed.DomainConfig
			best   *[]measure.Figure
		}{{unikernel, &ours}, {linux, &peers}} {
			got, err := figuresOf(ctx, h, side.config)
			if err != nil {
				return nil, nil, err
			}
			*side.best = best(*side.best, got)
		}
	}
	return ours, peers, nil
}

// best takes the less of each figure.
func best(a, b []measure.Figure) []measure.Figure {
	if a == nil {
		return b
	}
	for i := range a {
		for _, f := range b {
			if f.Name == a[i].Name {
				a[i].Value = min(a[i].Value, f.Value)
			}
		}
	}
	return a
}

// figuresOf starts one guest, echoes its events, and reads what it says.
func figuresOf(ctx context.Context, h *testbed.Host, c testbed.DomainConfig) ([]measure.Figure, error) {
	d, err := h.StartDomain(ctx, c)
	if err != nil {
		return nil, err
	}
	defer d.Destroy(context.WithoutCancel(ctx)) // it may have ended
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	echoed := make(chan error, 1)
	go func() {
		err := echo(ctx, d.ID)
		if err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("echo the events of domain %d: %w", d.ID, err))
		}
		echoed <- err
	}()
	m, err := d.Console.WaitFor(ctx, mark+`(.*)\n`)
	if err != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	cancel(nil)
	<-echoed
	if err != nil {
		return nil, err
	}
	var figures []measure.Figure
	if err := json.Unmarshal([]byte(m[1]), &figures); err != nil {
		return nil, fmt.Errorf("domain %s says %q: %w", d.Name, m[1], err)
	}
	return figures, nil
}

// echo answers each event of the guest until ctx ends.
func echo(ctx context.Context, id int) error {
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
	key := fmt.Sprintf("/local/domain/%d/%s", id, portKey)
	told, err := store.Watch(ctx, key)
	if err != nil {
		return err
	}
	defer told.Close()
	port := 0
	for port == 0 {
		if _, err := told.Next(ctx); err != nil {
			return err
		}
		v, err := store.Read(ctx, key)
		if errors.Is(err, xenstore.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if port, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
			return err
		}
	}
	ev, err := dom.Connect(xen.DomID(id), xen.Port(port))
	if err != nil {
		return err
	}
	defer ev.Close()
	for { // the first Wait returns at once, and tells the guest that we are here
		if err := ev.Wait(ctx); err != nil {
			return err
		}
		if err := ev.Notify(); err != nil {
			return err
		}
	}
}
