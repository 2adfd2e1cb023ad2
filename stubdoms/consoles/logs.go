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

// logs are where the domain keeps what guests said: a store on its disk, or nowhere. Guests do not wait for the disk to
// come: what they say meanwhile is in their streams.
type logs struct {
	where string // for people
	none  bool   // there is no disk

	ready chan struct{} // closed when the disk is there, or will not be
	disk  *blkfront.Disk
	store *logstore.Store
	err   error // why there is no store
	stop  func()
}

// openLogs begins to open the disk that the tool stack gave the domain, if it did.
func openLogs(ctx context.Context, store *xenstore.Client, dom *devxen.Domain, format bool) (*logs, error) {
	names, err := store.List(ctx, "device/vbd")
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return nil, err
	}
	l := &logs{where: "memory alone: the domain has no disk", none: true, ready: make(chan struct{}), stop: func() {}}
	switch {
	case len(names) == 0:
		close(l.ready)
		return l, nil
	case len(names) > 1:
		return nil, fmt.Errorf("this domain has %d disks; give it one", len(names))
	}
	l.where, l.none = "a disk", false
	stop, done := make(chan struct{}), make(chan struct{})
	l.stop = sync.OnceFunc(func() { close(stop); <-done })
	go func() {
		defer close(done)
		began := time.Now()
		l.err = l.open(ctx, store, dom, "device/vbd/"+names[0], format)
		close(l.ready)
		if l.err != nil {
			say(fmt.Sprintf("the disk: %v; consoles are served, and what they say is in memory alone", l.err))
			return
		}
		say(fmt.Sprintf("the disk, of %d MiB, is there after %v", l.disk.Size()>>20, time.Since(began).Round(time.Millisecond)))
		l.sync(stop)
	}()
	return l, nil
}

func (l *logs) open(ctx context.Context, store *xenstore.Client, dom *devxen.Domain, path string, format bool) (err error) {
	within, cancel := context.WithTimeoutCause(ctx, connectTime, errors.New("its backend did not answer in time"))
	defer cancel()
	l.disk, err = blkfront.Open(within, blkfront.Config{Store: store, Domain: dom, Path: path, Segments: 64})
	if err != nil {
		return err
	}
	l.store, err = openStore(l.disk, format)
	return err
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

// log opens the log of a guest.
func (l *logs) log(name, key string, _ *xenconsoled.Mark) (xenconsoled.Sink, error) {
	return &source{logs: l, name: name, key: key}, nil
}

// source is the log of a guest, on the disk when that is there.
type source struct {
	logs      *logs
	name, key string
	src       *logstore.Source // nil before the first write
}

func (s *source) begin(m *xenconsoled.Mark) error {
	<-s.logs.ready
	if s.logs.err != nil {
		return s.logs.err
	}
	if s.src != nil {
		return nil
	}
	var err error
	s.src, err = s.logs.store.Source(s.name, s.key, m, time.Now)
	return err
}

// Write implements xenconsoled.Sink.
func (s *source) Write(m *xenconsoled.Mark, p []byte, last bool) (int, error) {
	from := m.Position()
	if err := s.begin(m); err != nil {
		return 0, err
	}
	// The program may have died when it had written, and not noted it.
	if has := m.Position() - from; has > uint64(len(p)) {
		m.Set(from+uint64(len(p)), 0)
		return len(p), nil
	} else if has > 0 {
		return int(has), nil
	}
	return s.src.Write(m, p, last)
}

// Lost implements xenconsoled.Sink.
func (s *source) Lost(m *xenconsoled.Mark, n uint64) error {
	from := m.Position()
	if err := s.begin(m); err != nil {
		return err
	}
	m.Set(from, 0) // the logger is not behind the disk here
	return s.src.Lost(m, n)
}

// Close implements xenconsoled.Sink.
func (s *source) Close() error { return nil }

// Forget says that the guest is gone.
func (s *source) Forget() {
	if s.src != nil {
		s.src.Forget()
	}
}

// history reads the store when it is there.
type history struct{ *logs }

// Read implements attach.History.
func (h history) Read(name, key string, from uint64, f func(from uint64, p []byte) error) (bool, error) {
	<-h.ready
	if h.err != nil {
		return false, nil
	}
	return logstore.History{Store: h.store}.Read(name, key, from, f)
}

// retain has further segments of the log not name guests that went while nobody served.
func (l *logs) retain(served func() []*xenconsoled.Console) {
	go func() {
		<-l.ready
		if l.err != nil || l.none {
			return
		}
		keys := make(map[string]bool)
		for _, c := range served() {
			keys[c.Stream().Key()] = true
		}
		l.store.Retain(func(_, key string) bool { return keys[key] })
	}()
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
	var err error
	if l.store != nil {
		err = l.store.Sync()
	}
	if l.disk != nil {
		err = errors.Join(err, l.disk.Close())
	}
	if err != nil {
		say(fmt.Sprintf("the disk: %v", err))
	}
}
