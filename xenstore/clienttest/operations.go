// Package clienttest is what a client of xenstore must be able to do, whatever service it speaks to: ours, xenstored,
// oxenstored, the simulator.
package clienttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"

	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Operations is what every service must do for a client that may do everything.
func Operations(ctx context.Context, t testing.TB, c *xenstore.Client) {
	t.Helper()
	const at = "/morgana-test"
	if err := c.Remove(ctx, at); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(ctx, at+"/a/b", "1"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.ReadUint(ctx, at+"/a/b", 8); n != 1 || err != nil {
		t.Errorf("ReadUint: %d, %v", n, err)
	}
	if _, err := c.Read(ctx, at+"/none"); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, xenstore.ErrNotExist) {
		t.Errorf("read of nothing: %v", err)
	}
	var e *xenstore.Error
	if _, err := c.Read(ctx, at+"/none"); !errors.As(err, &e) || e.Path != at+"/none" || e.Op != "read" {
		t.Errorf("the error does not say what failed: %v", err)
	}
	perms := []xs.Perm{{Access: xs.AccessRead}, {Access: xs.AccessNone, Dom: 0}}
	if err := c.SetPerms(ctx, at+"/a", perms...); err != nil {
		t.Error(err)
	}
	if got, err := c.GetPerms(ctx, at+"/a"); err != nil || len(got) != 2 || got[0] != perms[0] {
		t.Errorf("permissions: %v, %v", got, err)
	}
	if p, err := c.DomainPath(ctx, 7); p != "/local/domain/7" || err != nil {
		t.Errorf("domain path: %q, %v", p, err)
	}
	if ok, err := c.IsIntroduced(ctx, 0); !ok || err != nil {
		t.Errorf("is dom0 introduced: %v, %v", ok, err)
	}
	if ok, err := c.IsIntroduced(ctx, 777); ok || err != nil {
		t.Errorf("is domain 777 introduced: %v, %v", ok, err)
	}
	if s, err := c.Control(ctx, "check"); s != "OK" && s != "" || err != nil {
		t.Errorf("control check: %q, %v", s, err)
	}
	for i := range 700 {
		if err := c.Mkdir(ctx, fmt.Sprintf("%s/big/entry-%05d", at, i)); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := c.List(ctx, at+"/big"); len(names) != 700 || err != nil {
		t.Errorf("list of 700 children: %d, %v", len(names), err)
	}
	if names, err := c.List(ctx, at+"/a/b"); len(names) != 0 || err != nil {
		t.Errorf("list without children: %v, %v", names, err)
	}

	// Watches: one event at once, then each change in order; none from a failed transaction.
	w, err := c.Watch(ctx, at+"/w", at+"/a")
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		if e, err := w.Next(ctx); err != nil || e.Path != want {
			t.Fatalf("event %+v, %v; want %s", e, err, want)
		}
	}
	next(at + "/w")
	next(at + "/a")
	for i := range 30 {
		if err := c.Write(ctx, fmt.Sprintf("%s/w/%d", at, i), ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		next(fmt.Sprintf("%s/w/%d", at, i))
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Read(ctx, at+"/a/b"); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(ctx, at+"/a/b", "2"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Write(ctx, at+"/a/b", "3"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); !errors.Is(err, xenstore.ErrAgain) {
		t.Errorf("commit after a conflict: %v", err)
	}
	next(at + "/a/b")
	if err := w.Remove(ctx, at+"/a"); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, ok := <-w.Events(); ok {
		t.Error("an event after Close")
	}

	// Many goroutines count one node up; none is lost.
	if err := c.Write(ctx, at+"/n", "0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				err := c.Transact(ctx, func(tx *xenstore.Tx) error {
					n, err := tx.ReadUint(ctx, at+"/n", 32)
					if err != nil {
						return err
					}
					return tx.Write(ctx, at+"/n", fmt.Sprint(n+1))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n, err := c.ReadUint(ctx, at+"/n", 32); n != 80 || err != nil {
		t.Errorf("counted to %d, %v; want 80", n, err)
	}
	if err := c.Remove(ctx, at); err != nil {
		t.Error(err)
	}
}
