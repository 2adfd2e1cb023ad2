package xenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"morgana/lvm/remote"
	"morgana/tests/xenstore/peers"
	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xen/xenbus"
	"morgana/xen/xenbus/xenbustest"
	"morgana/xenstore"
)

// half is a backend or frontend that does nothing but connect.
type half struct{ connected chan struct{} }

func (h half) Features() map[string]string { return map[string]string{"feature-x": "1"} }
func (h half) Connect(context.Context, xenbus.Nodes) (map[string]string, error) {
	return map[string]string{"sectors": "100"}, nil
}
func (h half) Disconnect() {}
func (h half) Close()      {}

type frontHalf struct{ half }

func (f frontHalf) Prepare(context.Context, xen.DomID, xenbus.Nodes) (map[string]string, error) {
	return map[string]string{"ring-ref": "8"}, nil
}

func (f frontHalf) Connect(context.Context, xenbus.Nodes) error {
	f.connected <- struct{}{}
	return nil
}
func (f frontHalf) Changed(xenbus.Nodes) {}

// A backend in a domain of its own meets frontends under the daemons of others, with the rights that a domain has there:
// it may write its states, and remove its directory at the end, which xl waits for. Commands for a volume manager in the
// domain go through, too.
func TestBackendUnderTheDaemonsOfOthers(t *testing.T) {
	p := others(t)
	for name, start := range map[string]func(*peers.Host, ...string) (*peers.Daemon, error){"C": p.StartC, "OCaml": p.StartOCaml} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			d, err := start(h)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Kill()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			open := func(dom xen.DomID, ring bool) *xenstore.Client {
				t.Helper()
				var conn io.ReadWriteCloser
				var err error
				if ring {
					conn, err = h.Guest(dom) // whose watches may be silent for as long as they like
				} else {
					conn, err = d.Dial(ctx)
				}
				if err != nil {
					t.Fatal(err)
				}
				c := xenstore.NewClient(conn)
				t.Cleanup(func() { c.Close() })
				return c
			}
			dom0 := open(0, false)
			const backend, guest = 1, 2
			for _, dom := range []xen.DomID{backend, guest} {
				if err := h.MakeDomain(dom); err != nil {
					t.Fatal(err)
				}
				if err := dom0.Introduce(ctx, dom, 1, 7); err != nil {
					t.Fatal(err)
				}
				home(t, ctx, dom0, dom)
			}
			back, front := open(backend, true), open(guest, true)
			wg.Go(func() {
				err := xenbus.Backends(ctx, back, "vbd", func(context.Context, *xenbus.Device) (xenbus.Backend, error) { return half{}, nil })
				if ctx.Err() == nil {
					t.Error("backends:", err)
				}
			})
			wg.Go(func() {
				_ = remote.Serve(ctx, back, backend, func(_ context.Context, args []string, stdout, _ io.Writer) int {
					fmt.Fprintln(stdout, args)
					return 7
				})
			})

			tools := xenbustest.ToolStack{Store: dom0}
			for n := range 3 {
				dev := xenbustest.Device{Class: "vbd", Frontend: guest, Backend: backend, Number: 51712, Nodes: map[string]string{"params": "vg0/web1"}}
				if err := tools.Attach(ctx, &dev); err != nil {
					t.Fatal(err)
				}
				f := frontHalf{half{make(chan struct{}, 1)}}
				wg.Go(func() {
					if err := xenbus.RunFrontend(ctx, front, "device/vbd/51712", f); !errors.Is(err, xenbus.ErrRemoved) && ctx.Err() == nil {
						t.Error("frontend:", err)
					}
				})
				select {
				case <-f.connected:
				case <-ctx.Done():
					t.Fatal("the two halves do not meet")
				}
				end := tools.Detach
				if n == 2 {
					end = tools.Destroy
				}
				if err := end(ctx, &dev); err != nil {
					t.Fatal(err)
				}
			}
			if names, err := dom0.List(ctx, "/local/domain/1/backend/vbd"); err != nil || len(names) > 0 {
				t.Errorf("left in the backend's directory: %q, %v", names, err)
			}

			var out bytes.Buffer
			if code, err := remote.Run(ctx, dom0, backend, []string{"lvs"}, &out, &out); err != nil || code != 7 || out.String() != "[lvs]\n" {
				t.Errorf("a command ends with %d, %v and says %q", code, err, &out)
			}
			for _, dir := range []string{"request", "reply"} {
				if names, err := dom0.List(ctx, "/local/domain/1/"+remote.Dir+"/"+dir); err != nil || len(names) > 0 {
					t.Errorf("left in %s: %q, %v", dir, names, err)
				}
			}
		})
	}
}

// home makes a domain's home as libxl does.
func home(t *testing.T, ctx context.Context, dom0 *xenstore.Client, dom xen.DomID) {
	t.Helper()
	path := xs.DomainPath(dom)
	for _, n := range []struct {
		path, value string
		perms       []xs.Perm
	}{
		{path, "", []xs.Perm{{Access: xs.AccessNone}, {Access: xs.AccessRead, Dom: dom}}},
		{path + "/domid", fmt.Sprint(dom), []xs.Perm{{Access: xs.AccessNone}, {Access: xs.AccessRead, Dom: dom}}},
		{path + "/device", "", []xs.Perm{{Access: xs.AccessNone}, {Access: xs.AccessRead, Dom: dom}}},
		{path + "/backend", "", []xs.Perm{{Access: xs.AccessNone, Dom: dom}}},
		{path + "/data", "", []xs.Perm{{Access: xs.AccessNone, Dom: dom}}},
	} {
		if err := dom0.Write(ctx, n.path, n.value); err != nil {
			t.Fatal(err)
		}
		if err := dom0.SetPerms(ctx, n.path, n.perms...); err != nil {
			t.Fatal(err)
		}
	}
}
