package serving

import (
	"bytes"
	"context"
	"errors"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/blkback"
	"morgana/block/file"
	"morgana/lvm"
	"morgana/lvm/remote"
	"morgana/xen/blkfront"
	"morgana/xen/sim"
	"morgana/xen/xenbus/xenbustest"
	"morgana/xenstore"
)

// road is the whole road of a guest's write: its frontend, the storage domain's backend, the volume, the storage
// domain's frontend, dom0's backend, a file.
type road struct {
	t              *testing.T
	ctx            context.Context
	tools          xenbustest.ToolStack
	storage, guest *sim.Domain
	lower, upper   xenbustest.Device // the storage domain's disk, and the guest's
	stop           func()            // ends the storage domain's program
}

func newRoad(t *testing.T) *road {
	disk, err := file.Open(newDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	host := sim.New(1)
	t.Cleanup(host.Close)
	r := &road{t: t, tools: xenbustest.ToolStack{Store: host.Dom0().Store()}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	r.ctx = ctx
	if r.storage, err = host.NewDomain(); err != nil {
		t.Fatal(err)
	}
	if r.guest, err = host.NewDomain(); err != nil {
		t.Fatal(err)
	}

	dom0, err := blkback.New(blkback.Config{
		Store: host.Dom0().Store(), Domain: host.Dom0(),
		Open: func(context.Context, *blkback.Attachment) (blkback.Disk, error) {
			return blkback.Disk{Device: disk}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = dom0.Serve(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })

	r.lower = xenbustest.Device{Class: "vbd", Frontend: r.storage.ID(), Backend: 0, Number: 51712, Nodes: map[string]string{"params": "disk", "mode": "w"}}
	r.upper = xenbustest.Device{Class: "vbd", Frontend: r.guest.ID(), Backend: r.storage.ID(), Number: 51712, Nodes: map[string]string{"params": "vg0/web1", "mode": "w"}}
	r.check(r.tools.Attach(ctx, &r.lower))
	r.start()
	r.check(r.tools.Attach(ctx, &r.upper))
	return r
}

func (r *road) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// start starts what runs in the storage domain, and waits until it takes commands.
func (r *road) start() {
	ctx, cancel := context.WithCancel(r.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		store := r.storage.Store()
		disk, err := blkfront.Open(ctx, blkfront.Config{Store: store, Domain: r.storage, Path: "device/vbd/51712"})
		if err != nil {
			r.t.Error("the storage domain's disk:", err)
			return
		}
		defer disk.Close()
		v := New([]lvm.Disk{{Name: "/dev/xvda", Device: disk}}, Options{RedoLog: true})
		if _, err := v.Start(ctx); err != nil {
			r.t.Error("the storage domain's groups:", err)
			return
		}
		server, err := blkback.New(blkback.Config{Store: store, Domain: r.storage, Open: v.Disk, Options: blkback.Options{Resumable: true}})
		if err != nil {
			r.t.Error(err)
			return
		}
		wg.Go(func() { _ = remote.Serve(ctx, store, r.storage.ID(), v.Run) })
		if err := server.Serve(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, xenstore.ErrClosed) {
			r.t.Error(err)
		}
	})
	r.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	r.t.Cleanup(r.stop)
	for r.ctx.Err() == nil {
		if code, err := remote.Run(r.ctx, r.tools.Store, r.storage.ID(), []string{"version"}, &bytes.Buffer{}, &bytes.Buffer{}); err == nil && code == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatal("the storage domain does not serve")
}

func (r *road) command(line string) string {
	r.t.Helper()
	var out bytes.Buffer
	code, err := remote.Run(r.ctx, r.tools.Store, r.storage.ID(), strings.Fields(line), &out, &out)
	if err != nil || code != 0 {
		r.t.Fatalf("%s: exit code %d, %v\n%s", line, code, err, &out)
	}
	return out.String()
}

// A guest writes through the whole road, its volume grows under it, the program in the storage domain ends and begins
// again in the middle of writes, and everything is there.
func TestWholeRoad(t *testing.T) {
	r := newRoad(t)
	disk, err := blkfront.Open(r.ctx, blkfront.Config{Store: r.guest.Store(), Domain: r.guest, Path: "device/vbd/51712"})
	r.check(err)
	defer disk.Close()
	if disk.Size() != 16<<20 {
		t.Fatalf("the disk has %d bytes, want 16 MiB", disk.Size())
	}

	r.command("lvcreate -L8m -n web3 vg0")
	r.command("lvextend -L24m vg0/web1")
	select {
	case <-disk.Resized():
	case <-r.ctx.Done():
		t.Fatal("the guest does not learn that its disk grew")
	}
	if disk.Size() != 24<<20 {
		t.Fatalf("the disk has %d bytes, want 24 MiB", disk.Size())
	}

	const piece, writers = 64 << 10, 4
	want := make([]byte, disk.Size())
	var wg sync.WaitGroup
	done := make(chan struct{})
	part := len(want) / writers
	for n := range writers {
		wg.Go(func() {
			rnd := rand.New(rand.NewSource(int64(n)))
			for {
				select {
				case <-done:
					return
				default:
				}
				off := n*part + rnd.Intn(part-piece)
				b := want[off : off+1+rnd.Intn(piece)]
				rnd.Read(b)
				if _, err := disk.WriteAt(b, int64(off)); err != nil {
					t.Error(err)
					return
				}
				if err := disk.Flush(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		time.Sleep(50 * time.Millisecond)
		r.stop()
		r.start()
	}
	close(done)
	wg.Wait()
	got := make([]byte, len(want))
	if _, err := disk.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what was written and flushed is not there")
	}
	if out := strings.Join(strings.Fields(r.command("lvs --noheadings -o lv_name,lv_size vg0")), " "); out != "web1 24.00m web2 16.00m web3 8.00m" {
		t.Errorf("the volumes are %q", out)
	}
	disk.Close()
	r.check(r.tools.Detach(r.ctx, &r.upper))
}
