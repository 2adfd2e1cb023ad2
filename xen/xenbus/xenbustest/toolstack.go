// Package xenbustest is what a tool stack does with a device's directories, for tests: step by step as libxl 4.17 does
// it, and as strict in what it waits for.
package xenbustest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Timeout is how long libxl waits for a backend's state and for its directory to go (LIBXL_INIT_TIMEOUT,
// LIBXL_DESTROY_TIMEOUT).
const Timeout = 10 * time.Second

// ToolStack attaches and detaches devices. Safe for concurrent use.
type ToolStack struct {
	Store *xenstore.Client // dom0's connection
	// Late is how long after an event the tool stack reads what happened, as on a busy machine.
	Late time.Duration
}

// Device is a device to attach.
type Device struct {
	Class    string // "vbd"
	Frontend xen.DomID
	Backend  xen.DomID
	Number   uint32
	Nodes    map[string]string // of the backend: "params", "mode"
}

// BackPath and FrontPath are the two directories.
func (d *Device) BackPath() string {
	return fmt.Sprintf("%s/backend/%s/%d/%d", xs.DomainPath(d.Backend), d.Class, d.Frontend, d.Number)
}

// FrontPath is the frontend's directory.
func (d *Device) FrontPath() string {
	return fmt.Sprintf("%s/device/%s/%d", xs.DomainPath(d.Frontend), d.Class, d.Number)
}

// Make makes both directories in one transaction, each its half's and readable to the other
// (libxl__device_generic_add).
func (t *ToolStack) Make(ctx context.Context, d *Device) error {
	back := map[string]string{
		"frontend": d.FrontPath(), "frontend-id": strconv.Itoa(int(d.Frontend)), "online": "1", "state": "1",
		"removable": "0", "bootable": "1", "device-type": "disk",
	}
	for k, v := range d.Nodes {
		back[k] = v
	}
	front := map[string]string{
		"backend": d.BackPath(), "backend-id": strconv.Itoa(int(d.Backend)), "state": "1",
		"virtual-device": strconv.FormatUint(uint64(d.Number), 10), "device-type": "disk",
	}
	return t.Store.Transact(ctx, func(tx *xenstore.Tx) error {
		for _, half := range []struct {
			path        string
			owner, peer xen.DomID
			nodes       map[string]string
		}{{d.FrontPath(), d.Frontend, d.Backend, front}, {d.BackPath(), d.Backend, d.Frontend, back}} {
			if err := tx.Remove(ctx, half.path); err != nil && !errors.Is(err, xenstore.ErrNotExist) {
				return err
			}
			if err := tx.Mkdir(ctx, half.path); err != nil {
				return err
			}
			perms := []xs.Perm{{Access: xs.AccessNone, Dom: half.owner}, {Access: xs.AccessRead, Dom: half.peer}}
			if err := tx.SetPerms(ctx, half.path, perms...); err != nil {
				return err
			}
			for k, v := range half.nodes {
				if err := tx.Write(ctx, half.path+"/"+k, v); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Attach is xl block-attach: Make, and a wait for exactly state 2 of the backend.
func (t *ToolStack) Attach(ctx context.Context, d *Device) error {
	if err := t.Make(ctx, d); err != nil {
		return err
	}
	return t.wait(ctx, d.BackPath()+"/state", "2", false)
}

// Detach is xl block-detach: the backend is asked to close, has to do so, and to remove its directory unless it is
// dom0's.
func (t *ToolStack) Detach(ctx context.Context, d *Device) error { return t.detach(ctx, d, false) }

// Destroy is what xl destroy does with the device: the frontend's directory goes first.
func (t *ToolStack) Destroy(ctx context.Context, d *Device) error { return t.detach(ctx, d, true) }

func (t *ToolStack) detach(ctx context.Context, d *Device, force bool) error {
	state := d.BackPath() + "/state"
	err := t.Store.Transact(ctx, func(tx *xenstore.Tx) error {
		if force {
			if err := tx.Remove(ctx, d.FrontPath()); err != nil && !errors.Is(err, xenstore.ErrNotExist) {
				return err
			}
		}
		v, err := tx.Read(ctx, state)
		if err != nil {
			return err
		}
		if err := tx.Write(ctx, d.BackPath()+"/online", "0"); err != nil || v == "6" {
			return err
		}
		return tx.Write(ctx, state, "5")
	})
	if err != nil {
		return err
	}
	if err := t.wait(ctx, state, "6", false); err != nil {
		return err
	}
	if d.Backend != 0 {
		if err := t.wait(ctx, d.BackPath(), "", true); err != nil {
			return err
		}
	}
	for _, p := range []string{d.FrontPath(), d.BackPath()} {
		if err := t.Store.Remove(ctx, p); err != nil && !errors.Is(err, xenstore.ErrNotExist) {
			return err
		}
	}
	return nil
}

// wait waits as libxl does: it reads at each event, and a node that is gone is a failure, or what it waits for.
func (t *ToolStack) wait(ctx context.Context, path, value string, gone bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, fmt.Errorf("%s: %q wanted, timed out", path, value))
	defer cancel()
	w, err := t.Store.Watch(ctx, path)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		if _, err := w.Next(ctx); err != nil {
			return err
		}
		if t.Late > 0 {
			select {
			case <-time.After(t.Late):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		v, err := t.Store.Read(ctx, path)
		switch {
		case errors.Is(err, xenstore.ErrNotExist) && gone:
			return nil
		case errors.Is(err, xenstore.ErrNotExist):
			return fmt.Errorf("%s: %q wanted, but it was removed", path, value)
		case err != nil:
			return err
		case v == value && !gone:
			return nil
		}
	}
}
