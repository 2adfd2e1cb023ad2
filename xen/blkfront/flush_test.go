package blkfront

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// Whoever shares a flush shares one that began after he asked, and never do two run at once.
func TestFlushesCover(t *testing.T) {
	var (
		g                      flushes
		began, ended, alone, n atomic.Int64
		wg                     sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			for range 500 {
				before := began.Load()
				_ = g.do(func() error {
					if alone.Add(1) != 1 {
						t.Error("two at once")
					}
					k := began.Add(1)
					runtime.Gosched()
					ended.Store(k)
					alone.Add(-1)
					return nil
				})
				n.Add(1)
				if ended.Load() <= before {
					t.Error("a flush that began before it was asked for")
				}
			}
		})
	}
	wg.Wait()
	if began.Load() >= n.Load() {
		t.Errorf("%d flushes for %d calls", began.Load(), n.Load())
	}
}
