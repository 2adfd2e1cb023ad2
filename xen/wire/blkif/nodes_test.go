package blkif

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/xen"
)

func nodesOf(m map[string]string) Nodes {
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

var offer = Features{
	MaxRingOrder: 4, MaxQueues: 4, MaxIndirect: 256, Persistent: true, Flush: true, Discard: true, Secure: true,
	Granularity: 4096, Alignment: 512,
}

func TestFeatures(t *testing.T) {
	for name, f := range map[string]Features{"all": offer, "none": {MaxQueues: 1}} {
		got, err := ParseFeatures(nodesOf(f.Map()))
		if err != nil || got != f {
			t.Error(name, err, cmp.Diff(f, got))
		}
	}
	for name, c := range map[string]struct {
		nodes string
		want  Features
	}{
		// What Linux's backend has with state 2 and with state 4.
		"Linux early": {
			"feature-max-indirect-segments=256 multi-queue-max-queues=2 max-ring-page-order=4",
			Features{MaxRingOrder: 4, MaxQueues: 2, MaxIndirect: 256},
		},
		"Linux late": {
			"feature-max-indirect-segments=256 multi-queue-max-queues=2 max-ring-page-order=4 feature-flush-cache=1 " +
				"discard-granularity=512 discard-alignment=0 discard-secure=0 feature-discard=1 feature-barrier=1 feature-persistent=1",
			Features{
				MaxRingOrder: 4, MaxQueues: 2, MaxIndirect: 256, Persistent: true, Flush: true, Barrier: true, Discard: true,
				Granularity: 512,
			},
		},
		"old names":          {"max-ring-pages=8", Features{MaxRingOrder: 3, MaxQueues: 1}},
		"a boastful peer":    {"max-ring-page-order=4000000000 multi-queue-max-queues=4000000000 feature-max-indirect-segments=4000000000", Features{MaxRingOrder: 10, MaxQueues: 1024, MaxIndirect: 4096}},
		"not a switch":       {"feature-flush-cache=2", Features{MaxQueues: 1, Flush: true}},
		"nothing whatsoever": {"", Features{MaxQueues: 1}},
	} {
		got, err := ParseFeatures(parseNodes(c.nodes))
		if err != nil || got != c.want {
			t.Error(name, err, cmp.Diff(c.want, got))
		}
	}
	for _, bad := range []string{"max-ring-page-order=-1", "feature-persistent=yes", "discard-granularity=4294967296", "max-ring-pages=0", "feature-discard="} {
		if _, err := ParseFeatures(parseNodes(bad)); !errors.Is(err, ErrNode) {
			t.Error(bad, err)
		}
	}
}

func parseNodes(s string) Nodes {
	m := make(map[string]string)
	for _, f := range strings.Fields(s) {
		k, v, _ := strings.Cut(f, "=")
		m[k] = v
	}
	return nodesOf(m)
}

func TestDisk(t *testing.T) {
	for _, d := range []Disk{
		{Sectors: 8, SectorSize: 4096, PhysicalSectorSize: 4096},
		{Sectors: 1<<54 - 1, SectorSize: 512, PhysicalSectorSize: 4096, Info: InfoReadOnly | InfoRemovable | InfoCDROM},
		{SectorSize: 512, PhysicalSectorSize: 512},
	} {
		if got, err := ParseDisk(nodesOf(d.Map())); err != nil || got != d {
			t.Error(err, cmp.Diff(d, got))
		}
	}
	for _, bad := range []string{
		"", "sectors=x", "sectors=18014398509481984", "sectors=8 sector-size=256", "sectors=8 sector-size=1000",
		"sectors=8 sector-size=131072", "sectors=7 sector-size=4096", "sectors=8 info=-1",
	} {
		if _, err := ParseDisk(parseNodes(bad)); !errors.Is(err, ErrNode) {
			t.Error(bad, err)
		}
	}
}

func TestConnection(t *testing.T) {
	queue := func(first xen.GrantRef, pages int) (q Queue) {
		for i := range pages {
			q.Refs = append(q.Refs, first+xen.GrantRef(i))
		}
		q.Port = xen.Port(first)
		return q
	}
	for _, c := range []Connection{
		{ABI: ABI64, Persistent: true, Queues: []Queue{queue(8, 1)}},
		{ABI: ABI32, Queues: []Queue{queue(8, 16)}},
		{ABI: ABI64, Queues: []Queue{queue(8, 1), queue(100, 1)}},
		{ABI: ABI64, Queues: []Queue{queue(8, 4), queue(100, 4), queue(200, 4), queue(300, 4)}},
	} {
		if got, err := ParseConnection(nodesOf(c.Map()), &offer); err != nil {
			t.Error(err)
		} else if d := cmp.Diff(c, got); d != "" {
			t.Error(d)
		}
	}

	single := Connection{ABI: ABI32, Queues: []Queue{{Refs: []xen.GrantRef{9}, Port: 5}}}
	for name, nodes := range map[string]string{
		"the least":            "ring-ref=9 event-channel=5",
		"order told":           "ring-page-order=0 ring-ref0=9 event-channel=5",
		"order told, old name": "ring-page-order=0 ring-ref=9 event-channel=5",
		"both, after order":    "ring-page-order=0 ring-ref0=9 ring-ref=1 event-channel=5",
		"left from before":     "ring-ref0=1 ring-ref1=2 ring-ref=9 event-channel=5 queue-0/ring-ref=7 queue-0/event-channel=8",
		"32 bits":              "protocol=x86_32-abi ring-ref=9 event-channel=5",
	} {
		if got, err := ParseConnection(parseNodes(nodes), &offer); err != nil {
			t.Error(name, err)
		} else if d := cmp.Diff(single, got); d != "" {
			t.Error(name, d)
		}
	}
	if c, err := ParseConnection(parseNodes("num-ring-pages=2 ring-ref0=9 ring-ref1=10 event-channel=5"), &offer); err != nil || len(c.Queues[0].Refs) != 2 {
		t.Error("old name of the order:", c, err)
	}

	for name, nodes := range map[string]string{
		"nothing":             "",
		"no port":             "ring-ref=9",
		"no ring":             "event-channel=5",
		"port 0":              "ring-ref=9 event-channel=0",
		"a page is missing":   "ring-page-order=1 ring-ref0=9 event-channel=5",
		"too large":           "ring-page-order=5 ring-ref0=9 event-channel=5",
		"three pages":         "num-ring-pages=3 ring-ref0=9 ring-ref1=10 ring-ref2=11 event-channel=5",
		"no queue":            "multi-queue-num-queues=0 ring-ref=9 event-channel=5",
		"too many queues":     "multi-queue-num-queues=5 ring-ref=9 event-channel=5",
		"a queue is missing":  "multi-queue-num-queues=2 queue-0/ring-ref=9 queue-0/event-channel=5",
		"not a number":        "ring-ref=nine event-channel=5",
		"more than a number":  "ring-ref=9x event-channel=5",
		"more than 32 bits":   "ring-ref=4294967296 event-channel=5",
		"an unknown protocol": "protocol=ia64-abi ring-ref=9 event-channel=5",
	} {
		if c, err := ParseConnection(parseNodes(nodes), &offer); !errors.Is(err, ErrNode) && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	// What was not offered cannot be asked for.
	c, err := ParseConnection(parseNodes("ring-ref=9 event-channel=5 feature-persistent=1"), &Features{})
	if err != nil || c.Persistent {
		t.Error("persistent grants that were not offered:", c, err)
	}
}

// Nodes of a peer may say anything.
func FuzzNodes(f *testing.F) {
	c := Connection{ABI: ABI64, Queues: []Queue{{Refs: []xen.GrantRef{9, 10}, Port: 5}, {Refs: []xen.GrantRef{11, 12}, Port: 6}}}
	d := Disk{Sectors: 8, SectorSize: 4096, PhysicalSectorSize: 4096}
	all := offer.Map()
	maps.Copy(all, c.Map())
	maps.Copy(all, d.Map())
	var text strings.Builder
	for k, v := range all {
		text.WriteString(k + "=" + v + " ")
	}
	f.Add(text.String())
	f.Add("ring-page-order=0 ring-ref=9 event-channel=5 sectors=1")
	f.Fuzz(func(t *testing.T, s string) {
		n := parseNodes(s)
		if c, err := ParseConnection(n, &offer); err == nil {
			if len(c.Queues) < 1 || len(c.Queues) > 4 || len(c.Queues[0].Refs) > 16 {
				t.Fatalf("%+v was let through", c)
			}
			if again, err := ParseConnection(nodesOf(c.Map()), &offer); err != nil || !cmp.Equal(c, again) {
				t.Fatal(err, cmp.Diff(c, again))
			}
		}
		if d, err := ParseDisk(n); err == nil {
			if again, err := ParseDisk(nodesOf(d.Map())); err != nil || d != again {
				t.Fatal(err, cmp.Diff(d, again))
			}
		}
		_, _ = ParseFeatures(n)
	})
}
