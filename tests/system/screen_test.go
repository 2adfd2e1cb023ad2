package system

import (
	"context"
	"strings"
	"sync"
	"testing"
)

// A screen collects what a program writes, for a test that drives it.
type screen struct {
	mu     sync.Mutex
	b      strings.Builder
	change chan struct{}
}

func newScreen() *screen { return &screen{change: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.change)
	s.change = make(chan struct{})
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// waitFor waits until words are on the screen.
func (s *screen) waitFor(t *testing.T, ctx context.Context, words string) {
	t.Helper()
	for {
		s.mu.Lock()
		found, change := strings.Contains(s.b.String(), words), s.change
		s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			t.Fatalf("%q did not come: %v; the screen:\n%s", words, ctx.Err(), s)
		}
	}
}
