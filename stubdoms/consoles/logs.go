package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/blkfront"
	"morgana/xen/devxen"
	"morgana/xenconsoled"
	"morgana/xenconsoled/logstore"
	"morgana/xenstore"
)

// connectTime bounds how long the domain waits for its disk: a backend that is slow to come is waited for.
const connectTime = time.Minute

// syncTime is how often the disk is made to keep what was written: what a power cut may take.
const syncTime = time.Second

// logs are where the domain keeps what guests said: a store on its disk, or nowhere.
type logs struct {
	where string // for people
	disk  *blkfront.Disk
	store *logstore.Store
	stop  func()
}

// openLogs opens the disk that the tool stack gave the domain, if it did.
func openLogs(ctx context.Context, store *xenstore.Client, dom *devxen.Domain, format bool) (*logs, error) {
	names, err := store.List(ctx, "device/vbd")
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return nil, err
	}
	l := &logs{where: "memory alone: the domain has no disk", stop: func() {}}
	switch {
	case len(names) == 0:
		return l, nil
	case len(names) > 1:
		return nil, fmt.Errorf("this domain has %d disks; give it one", len(names))
	}
	within, cancel := context.WithTimeoutCause(ctx, connectTime, errors.New("its backend did not answer in time"))
	defer cancel()
	l.disk, err = blkfront.Open(within, blkfront.Config{Store: store, Domain: dom, Path: "device/vbd/" + names[0], Segments: 64})
	if err != nil {
		return nil, fmt.Errorf("the disk: %w", err)
	}
	if l.store, err = openStore(l.disk, format); err != nil {
		return nil, errors.Join(err, l.disk.Close())
	}
	l.where = fmt.Sprintf("a disk of %d MiB", l.disk.Size()>>20)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		l.sync(stop)
	}()
	l.stop = sync.OnceFunc(func() { close(stop); <-done })
	return l, nil
}

// openStore opens the store on a disk, and makes one of a disk that is empty.
func openStore(d block.Device, format bool) (*logstore.Store, error) {
	s, err := logstore.Open(d)
	if !errors.Is(err, logstore.ErrFormat) {
		return s, err
	}
	first := make([]byte, min(d.Size(), 64<<10))
	if _, rerr := d.ReadAt(first, 0); rerr != nil {
		return nil, rerr
	}
	if !format && bytes.IndexFunc(first, func(r rune) bool { return r != 0 }) >= 0 {
		return nil, fmt.Errorf("%w, and it is not empty; cmdline=\"--format\" makes one of it", err)
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	if err := logstore.Format(d, logstore.Options{ID: binary.LittleEndian.Uint64(id[:])}); err != nil {
		return nil, err
	}
	say("the disk was empty, and is a store of logs now")
	return logstore.Open(d)
}

// sync has the disk keep what was written, now and then.
func (l *logs) sync(stop <-chan struct{}) {
	tick := time.NewTicker(syncTime)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		err := l.store.Sync()
		if err != nil && !failed {
			say(fmt.Sprintf("the disk does not keep what is written: %v", err))
		}
		failed = err != nil
	}
}

func (l *logs) history() logstore.History { return logstore.History{Store: l.store} }

// open opens the log of a guest.
func (l *logs) open(name, key string, m *xenconsoled.Mark) (xenconsoled.Sink, error) {
	return l.store.Source(name, key, m, time.Now)
}

// retain has further segments of the log not name guests that went while nobody served.
func (l *logs) retain(served []*xenconsoled.Console) {
	if l.store == nil {
		return
	}
	keys := make(map[string]bool)
	for _, c := range served {
		keys[c.Stream().Key()] = true
	}
	l.store.Retain(func(_, key string) bool { return keys[key] })
}

// memory gives guests memory of a pool, or where that is full of the heap.
func (l *logs) memory(p *xenconsoled.Pool) func(xen.DomID, int) (xenconsoled.Memory, error) {
	return func(d xen.DomID, size int) (xenconsoled.Memory, error) {
		m, err := p.Memory(d, size)
		if errors.Is(err, xenconsoled.ErrPoolFull) {
			say(fmt.Sprintf("domain %d: %v: its console will not survive a restart of this program; give the domain memory", d, err))
			return volatile(make([]byte, xenconsoled.StreamHeader+volatileSize)), nil
		}
		return m, err
	}
}

// volatileSize is the scrollback of guests beyond those that there is memory for.
const volatileSize = 16 << 10

// volatile is memory that ends with the program.
type volatile []byte

func (v volatile) Bytes() []byte  { return v }
func (volatile) Close(bool) error { return nil }

// close keeps everything that was written.
func (l *logs) close() {
	l.stop()
	if l.store == nil {
		return
	}
	if err := errors.Join(l.store.Sync(), l.disk.Close()); err != nil {
		say(fmt.Sprintf("the disk: %v", err))
	}
}
