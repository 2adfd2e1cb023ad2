package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"morgana/blkback"
	"morgana/block"
	"morgana/xen/blkfront"
	"morgana/xen/sim"
	"morgana/xen/xenbus/xenbustest"
)

// Every way to misbehave is borne by our backend, in the simulator, while a neighbour's disk on the same service works.
func TestAllWays(t *testing.T) {
	requests := 2000
	if testing.Short() {
		requests = 200
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	host := sim.New(1)
	t.Cleanup(host.Close)
	domain := func() *sim.Domain {
		d, err := host.NewDomain()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	back, bad, good := domain(), domain(), domain()
	disks := map[string]block.Device{"bad": block.NewMem(8<<20, 512), "good": block.NewMem(1<<20, 512)}
	var log bytes.Buffer
	server, err := blkback.New(blkback.Config{
		Store: back.Store(), Domain: back, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Open: func(_ context.Context, a *blkback.Attachment) (blkback.Disk, error) {
			return blkback.Disk{Device: disks[a.Target], SecureDiscard: true}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() { served <- server.Serve(serving) }()
	xl := &xenbustest.ToolStack{Store: host.Dom0().Store()}
	attach := func(d *sim.Domain, name string) string {
		dev := &xenbustest.Device{
			Class: "vbd", Frontend: d.ID(), Backend: back.ID(), Number: 51712, Nodes: map[string]string{"params": name, "mode": "w"},
		}
		if err := xl.Attach(ctx, dev); err != nil {
			t.Fatal(err)
		}
		return dev.FrontPath()
	}
	neighbour, err := blkfront.Open(ctx, blkfront.Config{Store: good.Store(), Domain: good, Path: attach(good, "good")})
	if err != nil {
		t.Fatal(err)
	}
	defer neighbour.Close()
	path := attach(bad, "bad")
	f := newFront(bad, bad.Store(), path, 1)
	f.start()
	all, err := choose("all")
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range all {
		report, err := f.try(ctx, w, requests)
		if err != nil {
			t.Fatalf("%s: %v\n%s", w.name, err, log.String())
		}
		t.Logf("%s: %s", w.name, report)
		mark := fmt.Appendf(nil, "after %s", w.name)
		got := make([]byte, len(mark))
		_, werr := neighbour.WriteAt(mark, int64(i)*1000)
		_, rerr := neighbour.ReadAt(got, int64(i)*1000)
		if werr != nil || rerr != nil || !bytes.Equal(got, mark) {
			t.Fatalf("%s: the neighbour's disk: %v, %v, %q", w.name, werr, rerr, got)
		}
	}
	if f.refused == 0 || f.refused == f.sent {
		t.Errorf("%d of %d requests refused: the mixture tests nothing", f.refused, f.sent)
	}
	f.halt()
	stop()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestChoose(t *testing.T) {
	if w, err := choose("producer,segments"); err != nil || len(w) != 2 || w[0].name != "producer" {
		t.Errorf("%v, %v", w, err)
	}
	if _, err := choose("kindness"); err == nil {
		t.Error("a way that does not exist was chosen")
	}
}
