package simulated_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/cmd/stubdom/internal/host/simulated"
	"morgana/metrics"
)

// start brings the whole host up, with guests web and db.
func start(t *testing.T) (h *simulated.Host, guests []*simulated.Guest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	h, err := simulated.Start(ctx, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		t.Log(line)
	})
	check(t, err)
	t.Cleanup(func() { check(t, h.Close()) })
	check(t, h.Prepare(ctx, rand.NewChaCha8([32]byte{1}), map[string]int{"web": 8, "db": 4}))
	check(t, h.StartStorage(ctx))
	check(t, h.StartConsoles(ctx))
	for _, name := range []string{"web", "db"} {
		g, err := h.NewGuest(ctx, name, name)
		check(t, err)
		check(t, g.Boot(ctx))
		guests = append(guests, g)
	}
	return h, guests
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Guests write, their volumes are managed, services die under them, and at the end dom0 finds on its disk what they wrote.
func TestTheWholeHost(t *testing.T) {
	h, guests := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, g := range guests {
		check(t, g.Fill(ctx))
		g.Work()
	}
	_, err := h.Manage(ctx, "lvcreate", "-L8m", "-n", "more", simulated.GroupName)
	check(t, err)
	for range 3 {
		check(t, h.CrashStore(ctx))
		check(t, h.RestartStorage(ctx))
	}
	before, err := h.Look(ctx)
	check(t, err)
	time.Sleep(200 * time.Millisecond)
	now, err := h.Look(ctx)
	check(t, err)
	now.Since(before)
	looks(t, now)
	var set metrics.Set
	check(t, h.Collect(ctx, &set))
	collected(t, &set)
	for _, g := range guests {
		g.Rest()
		check(t, g.Verify())
	}
	sums := map[string][sha256.Size]byte{}
	for _, g := range guests {
		sums[g.Volume] = g.Sum()
		check(t, h.EndGuest(ctx, g))
	}
	check(t, h.EndStorage(ctx))
	volumes, err := h.Check(ctx)
	check(t, err)
	if volumes != "db 4.00m more 8.00m web 8.00m" {
		t.Errorf("the volumes are %s", volumes)
	}
	for name, sum := range sums {
		b, err := h.ReadVolume(ctx, name)
		check(t, err)
		if sha256.Sum256(b) != sum {
			t.Errorf("on dom0's disk volume %s has not what its guest wrote", name)
		}
	}
}

// looks checks what a snapshot of the host shows.
func looks(t *testing.T, s *model.Snapshot) {
	t.Helper()
	if len(s.Problems) > 0 {
		t.Errorf("problems: %q", s.Problems)
	}
	var who []string
	for _, d := range s.Domains {
		who = append(who, fmt.Sprintf("%d %s %s", d.ID, d.Name, d.Role))
	}
	if got, want := strings.Join(who, ", "), "0 Domain-0 dom0, 1 Xenstore xenstore, 2 storage storage, 3 consoles consoles, 4 web guest, 5 db guest"; got != want {
		t.Errorf("the domains are %s, want %s", got, want)
	}
	if g := s.Domain(1).Generation; g != 4 {
		t.Errorf("the xenstore domain's program is the %dth, want the 4th", g)
	}
	if !s.Store.Served || s.Store.Nodes == 0 || s.Store.PerSec == 0 {
		t.Errorf("xenstore is %+v", s.Store)
	}
	rings := map[string]model.Ring{}
	for _, r := range s.Rings {
		rings[fmt.Sprintf("%s %d-%d %s", r.Kind, r.Front, r.Back, r.Device)] = r
	}
	for _, key := range []string{"block 2-0 xvda", "block 4-2 xvda", "block 5-2 xvda", "xenstore 0-1 ", "xenstore 4-1 ", "console 4-3 ", "console 2-3 "} {
		if _, ok := rings[key]; !ok {
			t.Errorf("there is no ring %s", key)
		}
	}
	for _, key := range []string{"block 4-2 xvda", "block 2-0 xvda"} {
		if r := rings[key]; r.PerSec.Requests == 0 || r.PerSec.Written == 0 || r.Latency == 0 || r.Total.Failed > 0 {
			t.Errorf("ring %s: %+v", key, r)
		}
	}
	if r := rings["block 4-2 xvda"]; r.Target != "vg0/web" || r.Bytes != 8<<20 {
		t.Errorf("the disk of web: %+v", r)
	}
	if len(s.Groups) != 1 {
		t.Fatalf("the groups are %+v", s.Groups)
	}
	g := s.Groups[0]
	sum := uint64(0)
	for _, r := range g.Disks[0].Runs {
		sum += r.Count
	}
	if g.Name != "vg0" || g.Extent != 4<<20 || len(g.Disks) != 1 || sum != g.Disks[0].Extents {
		t.Errorf("the group is %+v", g)
	}
	users := map[string]int{}
	for _, v := range g.Volumes {
		users[v.Name] = v.User
	}
	if users["web"] != 4 || users["db"] != 5 || users["more"] != -1 {
		t.Errorf("volumes are used by %v", users)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}

// collected checks that Prometheus would take the metrics: every sample is there once, and all that is told is.
func collected(t *testing.T, set *metrics.Set) {
	t.Helper()
	read, err := metrics.Parse(set.Append(nil))
	check(t, err)
	seen := make(map[string]bool)
	for _, f := range read.Families {
		if f.Help == "" || f.Kind == metrics.Untyped {
			t.Errorf("%s has no help or type", f.Name)
		}
		for _, x := range f.Samples {
			key := fmt.Sprint(f.Name, x.Suffix, x.Labels)
			if seen[key] {
				t.Errorf("%s is told twice", key)
			}
			seen[key] = true
		}
	}
	for _, name := range []string{
		"morgana_blkback_requests_total", "morgana_blkback_request_seconds", "morgana_xenstore_operations_total", "morgana_xenstore_nodes",
		"morgana_xenstore_domain_requests_total", "morgana_console_lines_total", "morgana_domain_info", "morgana_volume_size_bytes", "morgana_host_complete",
	} {
		if read.Family(name) == nil {
			t.Errorf("%s is not told", name)
		}
	}
}

func TestTheTreeAndTheConsoles(t *testing.T) {
	h, guests := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n, err := h.Node(ctx, "/local/domain/4")
	check(t, err)
	names := map[string]model.Node{}
	for _, k := range n.Kids {
		names[k.Name] = k
	}
	if names["name"].Value != "web" || names["device"].Children != 1 || n.Perms == "" {
		t.Errorf("web's home is %+v", n)
	}
	if _, err := h.Node(ctx, "/none"); err == nil {
		t.Error("a node that is not there was read")
	}
	found, more, err := h.Find(ctx, "VG0/db", 10)
	check(t, err)
	if more || len(found) != 1 || found[0].Path != "/local/domain/2/backend/vbd/5/51712/params" {
		t.Errorf("found %+v", found)
	}
	if found, more, err := h.Find(ctx, "local", 2); err != nil || !more || len(found) != 2 {
		t.Errorf("found %+v, %v, %v", found, more, err)
	}

	in, typed := io.Pipe()
	var out safeBuffer
	done := make(chan error, 1)
	go func() { done <- h.Attach(ctx, "web", in, &out) }()
	_, _ = io.WriteString(typed, "verify\r") // the pipe cannot fail
	for !strings.Contains(out.String(), "all that was written is there") {
		if ctx.Err() != nil {
			t.Fatalf("the guest does not answer; its console:\n%s", out.String())
		}
		time.Sleep(time.Millisecond)
	}
	typed.Close()
	check(t, <-done)
	tail, err := h.Tail(ctx, 4)
	check(t, err)
	if len(tail.Lines) == 0 || tail.Lines[0] != "web: a guest of the simulator, with a disk of its own" {
		t.Errorf("the tail is %q", tail.Lines)
	}
	for _, g := range guests {
		check(t, h.EndGuest(ctx, g))
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
