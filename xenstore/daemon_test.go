//go:build xenstored

package xenstore_test

import (
	"sync"
	"testing"

	"morgana/xenstore"
	"morgana/xenstore/clienttest"
)

// With -tag xenstored the tests also want a real daemon: $XENSTORED_PATH, its socket or /dev/xen/xenbus.
func TestRealDaemon(t *testing.T) {
	c, err := xenstore.Dial(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	clienttest.Operations(testContext(t), t, c)
}

// Real daemons listen with a backlog of 1.
func TestManyConnect(t *testing.T) {
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			c, err := xenstore.Dial(testContext(t))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := c.List(testContext(t), "/"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkRealDaemon(b *testing.B) {
	ctx := b.Context()
	c, err := xenstore.Dial(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if err := c.Write(ctx, "/x", "value"); err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			_, _ = c.Read(ctx, "/x")
		}
	})
	b.Run("read-8", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = c.Read(ctx, "/x")
			}
		})
	})
}
