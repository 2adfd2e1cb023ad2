package remote

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Find gives the number of a domain by its name, or by the number itself.
func Find(ctx context.Context, store *xenstore.Client, name string) (xen.DomID, error) {
	if n, err := strconv.ParseUint(name, 10, 15); err == nil && xen.DomID(n) < xen.DomFirstReserved {
		return xen.DomID(n), nil
	}
	all, err := store.List(ctx, "/local/domain")
	if err != nil {
		return 0, err
	}
	for _, id := range all {
		n, err := strconv.ParseUint(id, 10, 15)
		if err != nil {
			continue
		}
		v, err := store.Read(ctx, xenstore.Join("/local/domain", id, "name"))
		if err == nil && v == name {
			return xen.DomID(n), nil
		}
	}
	return 0, &Error{Domain: name, Err: ErrNoDomain}
}

// Run has a domain carry out a command, writes its output as it comes, and returns its exit code. When ctx ends the
// command is interrupted; what it changed by then stays changed.
func Run(ctx context.Context, store *xenstore.Client, dom xen.DomID, args []string, stdout, stderr io.Writer) (code int, err error) {
	c := &caller{store: store, dir: xenstore.Join(xs.DomainPath(dom), Dir)}
	fail := func(err error) (int, error) { return 0, &Error{Domain: strconv.Itoa(int(dom)), Err: err} }
	value, err := appendCommand(args)
	if err != nil {
		return fail(err)
	}
	if ok, err := store.Exists(ctx, xenstore.Join(c.dir, "serving")); err != nil {
		return fail(err)
	} else if !ok {
		return fail(ErrNotServing)
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fail(err)
	}
	c.request = xenstore.Join(c.dir, "request", hex.EncodeToString(id[:]))
	c.reply = xenstore.Join(c.dir, "reply", hex.EncodeToString(id[:]))
	w, err := store.Watch(ctx, c.reply, xenstore.Join(c.dir, "serving"))
	if err != nil {
		return fail(err)
	}
	defer w.Close()
	// xenstored drops what a dead domain owned without a word. Only dom0 may watch for deaths.
	if err := w.Add(ctx, xs.ReleaseDomain); err != nil && !errors.Is(err, xenstore.ErrPermission) {
		return fail(err)
	}
	defer c.remove(ctx) // also of a request whose writing was given up: it may be there
	if err := store.Write(ctx, c.request, string(value)); err != nil {
		return fail(err)
	}
	if code, err = c.follow(ctx, w, stdout, stderr); err != nil {
		return fail(err)
	}
	return code, nil
}

type caller struct {
	store               *xenstore.Client
	dir, request, reply string
}

// remove removes what is left of the command, which interrupts it if it is under way.
func (c *caller) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for _, p := range []string{c.request, c.reply} {
		_ = c.store.Remove(ctx, p) // a domain that is gone took it along
	}
}

// follow reads the reply as it comes.
func (c *caller) follow(ctx context.Context, w *xenstore.Watch, stdout, stderr io.Writer) (code int, err error) {
	for got := 0; ; {
		// The order matters: once the code is there, all pieces are, or were.
		end, err := c.store.Read(ctx, xenstore.Join(c.reply, "code"))
		if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
			return 0, err
		}
		ended := err == nil
		n, err := c.take(ctx, got, stdout, stderr)
		if err != nil {
			return 0, err
		}
		if got += n; n > 0 {
			continue
		}
		if ended {
			code, pieces, err := parseCode(end)
			if err == nil && pieces != got {
				err = fmt.Errorf("%d of %d pieces of the output are missing", pieces-got, pieces)
			}
			return code, err
		}
		if err := c.alive(ctx); err != nil {
			return 0, err
		}
		if _, err := w.Next(ctx); err != nil {
			return 0, err
		}
	}
}

// take writes out the pieces from number got on that are there, and removes them.
func (c *caller) take(ctx context.Context, got int, stdout, stderr io.Writer) (n int, err error) {
	for ; ; n++ {
		node := xenstore.Join(c.reply, strconv.Itoa(got+n))
		v, err := c.store.Read(ctx, node)
		if errors.Is(err, xenstore.ErrNotExist) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		out := stdout
		switch {
		case len(v) > 0 && v[0] == '2':
			out = stderr
		case len(v) == 0 || v[0] != '1':
			return n, fmt.Errorf("piece %d of the output is of no stream", got+n)
		}
		if _, err := io.WriteString(out, v[1:]); err != nil {
			return n, err
		}
		if err := c.store.Remove(ctx, node); err != nil {
			return n, err
		}
	}
}

// alive reports an error when nobody can answer any more: neither the request nor the reply is there, or no server.
func (c *caller) alive(ctx context.Context) error {
	for _, p := range []string{c.request, xenstore.Join(c.reply, "running"), xenstore.Join(c.reply, "code")} {
		ok, err := c.store.Exists(ctx, p)
		if err != nil && !errors.Is(err, xenstore.ErrPermission) {
			return err
		}
		if ok {
			return nil
		}
	}
	return ErrInterrupted
}
