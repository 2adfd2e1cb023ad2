package locks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

func set(t *testing.T, dir string) *Set {
	t.Helper()
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s
}

func TestReadersShare(t *testing.T) {
	dir := t.TempDir()
	a, b := set(t, dir), set(t, dir)
	for _, s := range []*Set{a, b} {
		if err := s.Group(t.Context(), "vg0", Shared); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAWriterWaits(t *testing.T) {
	dir := t.TempDir()
	reader, writer := set(t, dir), set(t, dir)
	if err := reader.Group(t.Context(), "vg0", Shared); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := writer.Group(ctx, "vg0", Exclusive); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a writer beside a reader: %v", err)
	}
	reader.Release()
	if err := writer.Group(t.Context(), "vg0", Exclusive); err != nil {
		t.Fatal(err)
	}
}

func TestReadersDoNotOvertakeAWriter(t *testing.T) {
	dir := t.TempDir()
	first := set(t, dir)
	if err := first.Group(t.Context(), "vg0", Shared); err != nil {
		t.Fatal(err)
	}
	writing := make(chan error)
	go func() {
		writer := &Set{dir: dir}
		err := writer.Group(context.Background(), "vg0", Exclusive)
		writing <- err
		writer.Release()
		writing <- nil
	}()
	for { // until the writer waits
		if _, err := os.Stat(filepath.Join(dir, "V_vg0:aux")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := set(t, dir).Group(ctx, "vg0", Shared); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a reader before a writer that waits: %v", err)
	}
	first.Release()
	if err := <-writing; err != nil {
		t.Fatal(err)
	}
	<-writing
}

// Many holders, one at a time, and nothing is left in the folder.
func TestExclusion(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	var inside, most int
	for range 8 {
		wg.Go(func() {
			for range 20 {
				s := &Set{dir: dir}
				if err := s.Group(context.Background(), "vg0", Exclusive); err != nil {
					t.Error(err)
					return
				}
				inside++ // the race detector sees it if two are in here
				most = max(most, inside)
				inside--
				s.Release()
			}
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d at once", most)
	}
	if e, _ := os.ReadDir(dir); len(e) != 0 {
		t.Errorf("left: %v", e)
	}
}

func TestNames(t *testing.T) {
	s := set(t, t.TempDir())
	for _, name := range []string{"", "../x", "a/b"} {
		if err := s.Group(t.Context(), name, Shared); err == nil {
			t.Errorf("locked %q", name)
		}
	}
}

// A wait that lasts is told, once, with the lock's name; it goes on.
func TestWaitingIsTold(t *testing.T) {
	dir := t.TempDir()
	holder, waiter := set(t, dir), set(t, dir)
	if err := holder.Group(t.Context(), "vg0", Shared); err != nil {
		t.Fatal(err)
	}
	var told []string
	waiter.Waiting = func(path string) { told = append(told, filepath.Base(path)) }
	ctx, cancel := context.WithTimeout(t.Context(), patience+10*poll)
	defer cancel()
	if err := waiter.Group(ctx, "vg0", Exclusive); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the lock was given twice: %v", err)
	}
	if !slices.Equal(told, []string{"V_vg0"}) {
		t.Errorf("told %q", told)
	}
}
