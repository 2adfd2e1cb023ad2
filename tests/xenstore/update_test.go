package xenstore

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"morgana/tests/xenstore/peers"
	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Live updates: ours by ours, xenstored by ours, ours by xenstored, and on. Clients of the socket, a guest with watches
// and half a request, permissions and what a guest owns go on.
func TestLiveUpdate(t *testing.T) {
	p := others(t)
	ours, err := build()
	if err != nil {
		t.Fatal(err)
	}
	theirs := p.Program("xenstored")
	for _, way := range []struct {
		name  string
		first string
		then  []string
	}{
		{"ours by ours", ours, []string{ours, ours}},
		{"xenstored by ours", theirs, []string{ours}},
		{"ours by xenstored", ours, []string{theirs}},
		{"there and back", theirs, []string{ours, theirs, ours, theirs}},
	} {
		t.Run(way.name, func(t *testing.T) { update1(t, p, way.first, way.then) })
	}
}

func update1(t *testing.T, p *peers.Peers, first string, then []string) {
	h := host(t)
	d, err := p.StartEither(h, first)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Kill()
	ctx := within(t, time.Minute)
	c := dial(t, ctx, h)
	newGuest(t, ctx, c, h, 5)
	newGuest(t, ctx, c, h, 6)
	if err := c.SetTarget(ctx, 6, 5); err != nil {
		t.Fatal(err)
	}
	if err := c.SetPerms(ctx, xs.ReleaseDomain, xs.Perm{Access: xs.AccessNone}, xs.Perm{Access: xs.AccessRead, Dom: 5}); err != nil {
		t.Fatal(err)
	}
	g, err := h.Guest(5)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	gc := xenstore.NewClient(g)
	defer gc.Close()
	gw, err := gc.Watch(ctx, "data", xs.ReleaseDomain)
	if err != nil {
		t.Fatal(err)
	}
	cw, err := c.Watch(ctx, "/top", "rel")
	if err != nil {
		t.Fatal(err)
	}
	next := func(w *xenstore.Watch, want string) {
		t.Helper()
		if e, err := w.Next(within(t, 10*time.Second)); err != nil || e.Path != want {
			t.Fatalf("event %+v, %v; want %s", e, err, want)
		}
	}
	next(gw, "data")
	next(gw, xs.ReleaseDomain)
	next(cw, "/top")
	next(cw, "rel")
	for i := range 50 {
		if err := gc.Write(ctx, fmt.Sprintf("data/%d", i), "x"); err != nil {
			t.Fatal(err)
		}
		next(gw, fmt.Sprintf("data/%d", i))
	}
	// Domain 6 stops within a request.
	half, err := h.Guest(6)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	msg := xs.AppendMessage(nil, xs.Header{Op: xs.Write, Req: 3}, []byte("/local/domain/5/data/by6\x00target"))
	if _, err := half.Write(msg[:30]); err != nil {
		t.Fatal(err)
	}
	if err := c.Mkdir(ctx, "there"); err != nil { // and with it the home of dom0
		t.Fatal(err)
	}
	before := tree(t, p, h)
	for i, program := range then {
		if out, err := p.Command(h.Socket(), "xenstore-control", "live-update", "-t", "5", program).CombinedOutput(); err != nil {
			t.Fatalf("live update to %s: %v\n%s", filepath.Base(program), err, out)
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", d.Cmd.Process.Pid))
		if err != nil || exe != program {
			t.Fatalf("%s runs, want %s: %v", exe, program, err)
		}
		if after := tree(t, p, h); after != before {
			t.Fatalf("the tree was\n%s\nand is\n%s", before, after)
		}
		if err := c.Write(ctx, "/top/x", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		next(cw, "/top/x")
		if err := c.Write(ctx, "rel/y", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		next(cw, "rel/y")
		if err := gc.Write(ctx, "data/after", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		next(gw, "data/after")
		if err := c.Remove(ctx, "/top/x"); err != nil {
			t.Fatal(err)
		}
		next(cw, "/top/x")
		for _, p := range []string{"rel", "/top"} {
			if err := c.Remove(ctx, p); err != nil {
				t.Fatal(err)
			}
			next(cw, p)
		}
		if err := gc.Remove(ctx, "data/after"); err != nil {
			t.Fatal(err)
		}
		next(gw, "data/after")
	}
	if _, err := half.Write(msg[30:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, xs.HeaderSize+3)
	if _, err := io.ReadFull(half, b); err != nil || string(b[xs.HeaderSize:]) != "OK\x00" {
		t.Errorf("the half request: %q, %v", b, err)
	}
	next(gw, "data/by6")
	newGuest(t, ctx, c, h, 7)
	if err := h.Destroy(xen.DomID(7)); err != nil {
		t.Fatal(err)
	}
	if err := h.Exception(); err != nil {
		t.Fatal(err)
	}
	next(gw, xs.ReleaseDomain)
}

// tree is all that Xen's tool shows.
func tree(t *testing.T, p *peers.Peers, h *peers.Host) string {
	t.Helper()
	out, err := p.Command(h.Socket(), "xenstore-ls", "-f", "-p").CombinedOutput()
	if err != nil {
		t.Fatalf("xenstore-ls: %v\n%s", err, out)
	}
	return string(out)
}
