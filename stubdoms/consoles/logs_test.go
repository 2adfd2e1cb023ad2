package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"morgana/block"
	"morgana/xenconsoled"
	"morgana/xenconsoled/logstore"
)

func newMark(t *testing.T) *xenconsoled.Mark {
	t.Helper()
	m, err := xenconsoled.NewMark(make([]byte, 64))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What a guest says before the disk is there waits for it; what the disk has already is not written again.
func TestDiskComesLate(t *testing.T) {
	l := &logs{ready: make(chan struct{})}
	log, err := l.log("web", "key", nil)
	if err != nil {
		t.Fatal(err)
	}
	m := newMark(t)
	type wrote struct {
		n   int
		err error
	}
	done := make(chan wrote, 1)
	go func() {
		n, err := log.Write(m, []byte("456789"), false)
		done <- wrote{n, err}
	}()
	select {
	case w := <-done:
		t.Fatalf("it did not wait: %+v", w)
	case <-time.After(10 * time.Millisecond):
	}
	d := block.NewMem(1<<20, 512)
	if l.store, err = openStore(d, false); err != nil { // empty: it becomes a store
		t.Fatal(err)
	}
	before := newMark(t)
	src, err := l.store.Source("web", "key", before, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Write(before, []byte("0123"), false); err != nil {
		t.Fatal(err)
	}
	close(l.ready)
	// The mark said 0 and the store has 4 bytes: these count as written, whatever they are.
	if w := <-done; w.err != nil || w.n != 4 || m.Position() != 4 {
		t.Fatalf("%+v, %d", w, m.Position())
	}
	if n, err := log.Write(m, []byte("89"), true); n != 2 || err != nil || m.Position() != 6 {
		t.Errorf("%d, %v, %d", n, err, m.Position())
	}
	var got []byte
	ok, err := history{l}.Read("web", "", 0, func(_ uint64, p []byte) error { got = append(got, p...); return nil })
	if !ok || err != nil || string(got) != "012389" {
		t.Errorf("%q, %v, %v", got, ok, err)
	}
}

// A disk that does not come is an error of the log, which the guest does not wait for.
func TestDiskDoesNotCome(t *testing.T) {
	l := &logs{ready: make(chan struct{}), err: errors.New("no disk")}
	close(l.ready)
	log, _ := l.log("web", "key", nil)
	if n, err := log.Write(newMark(t), []byte("x"), false); n != 0 || !errors.Is(err, l.err) {
		t.Errorf("%d, %v", n, err)
	}
	if ok, err := (history{l}).Read("web", "", 0, nil); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

// A disk that holds something else is left alone, unless it was said that it may go.
func TestForeignDisk(t *testing.T) {
	d := block.NewMem(1<<20, 512)
	text := bytes.Repeat([]byte("somebody's "), 100)
	if _, err := d.WriteAt(append(text, make([]byte, 512-len(text)%512)...), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(d, false); !errors.Is(err, logstore.ErrFormat) {
		t.Errorf("it is taken: %v", err)
	}
	if _, err := openStore(d, true); err != nil {
		t.Error(err)
	}
	if _, err := openStore(d, false); err != nil {
		t.Errorf("it is none afterwards: %v", err)
	}
}
