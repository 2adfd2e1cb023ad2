package history

import (
	"compress/zlib"
	"fmt"
	"strings"
	"sync"
	"time"

	"morgana/xenstore/server"
	"morgana/xenstore/store"
)

// Options are how a history is kept.
type Options struct {
	// Keep is how many commits are kept, at least; up to twice as many are there. 0 means 10 000.
	Keep int
	// Every is how long commits are gathered before they are written. 0 means 50 ms.
	Every time.Duration
	// Failed is told, once, why no more is written; nil for nobody.
	Failed func(error)
}

const (
	queueMax = 1024
	packsMax = 24
	// idle is how many times as long as it wrote it rests: so much of a processor is left to others. What comes meanwhile and
	// does not fit into the queue is joined.
	idle = 3
)

// Writer writes a history. Record may be called by one goroutine.
type Writer struct {
	opts    Options
	repo    *repo
	hasher  hasher
	z       *zlib.Writer
	parent  hash
	any     bool // there is a parent
	commits int
	packs   int

	wg   sync.WaitGroup
	wake chan struct{}
	stop chan struct{}

	mu    sync.Mutex
	queue []queued
	err   error
}

// queued is a commit that waits.
type queued struct {
	server.Commit
	at     time.Time
	joined int // further commits that it stands for
}

// Open opens the repository in a directory, or makes it, and starts the goroutine that writes it. Close ends it.
func Open(dir string, o Options) (*Writer, error) {
	if o.Keep <= 0 {
		o.Keep = 10_000
	}
	if o.Every <= 0 {
		o.Every = 50 * time.Millisecond
	}
	r, err := openRepo(dir)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	w := &Writer{opts: o, repo: r, z: newCompressor(), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	w.hasher.known = map[*store.Node]hash{}
	if w.parent, w.any, err = r.head(); err != nil {
		return nil, err
	}
	if w.any {
		if w.commits, err = r.shrink(o.Keep); err != nil {
			return nil, err
		}
		w.packs = 1
	}
	w.wg.Add(1)
	go w.run()
	return w, nil
}

// Record adds a commit. It does not wait: when too many are not written yet, the newest stands for those before it.
func (w *Writer) Record(c server.Commit) {
	w.mu.Lock()
	if n := len(w.queue); n >= queueMax {
		last := &w.queue[n-1]
		joined := last.joined + 1
		*last = queued{Commit: c, at: time.Now(), joined: joined}
	} else {
		w.queue = append(w.queue, queued{Commit: c, at: time.Now()})
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Close writes what waits and ends.
func (w *Writer) Close() error {
	close(w.stop)
	w.wg.Wait()
	return w.err
}

func (w *Writer) run() {
	defer w.wg.Done()
	pause := w.opts.Every
	for going := true; going; {
		select {
		case <-w.wake:
			select {
			case <-time.After(pause):
			case <-w.stop:
				going = false
			}
		case <-w.stop:
			going = false
		}
		w.mu.Lock()
		batch := w.queue
		w.queue = nil
		w.mu.Unlock()
		if len(batch) == 0 || w.err != nil {
			continue
		}
		begin := time.Now()
		err := w.write(batch)
		pause = max(w.opts.Every, idle*time.Since(begin))
		if err != nil {
			w.err = fmt.Errorf("history: %w", err)
			if w.opts.Failed != nil {
				w.opts.Failed(w.err)
			}
		}
	}
}

func (w *Writer) write(batch []queued) error {
	p := newPack(w.z)
	for i := range batch {
		q := &batch[i]
		tree := w.hasher.tree(p, q.Root)
		var b strings.Builder
		fmt.Fprintf(&b, "tree %s\n", tree)
		if w.any {
			fmt.Fprintf(&b, "parent %s\n", w.parent)
		}
		who := fmt.Sprintf("dom%d <dom%d@xenstore> %d +0000", q.Dom, q.Dom, q.at.Unix())
		fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s\n", who, who, q.message())
		w.parent, w.any = p.add(commitKind, []byte(b.String())), true
		w.commits++
	}
	if w.hasher.full() {
		w.hasher.forget(batch[len(batch)-1].Root)
	}
	if _, err := w.repo.write(p); err != nil {
		return err
	}
	if err := w.repo.replace(branch, []byte(w.parent.String()+"\n")); err != nil {
		return err
	}
	if w.packs++; w.packs > packsMax || w.commits > 2*w.opts.Keep {
		var err error
		keep := max(w.opts.Keep, 1)
		if w.commits <= 2*w.opts.Keep {
			keep = 2 * keep // not yet: only fewer packs
		}
		w.commits, err = w.repo.shrink(keep)
		w.packs = 1
		return err
	}
	return nil
}

// message says what made a commit: the request and its path, then who it was exactly.
func (q *queued) message() string {
	var b strings.Builder
	if q.Tx != 0 {
		fmt.Fprintf(&b, "transaction of %d request", q.Ops)
		if q.Ops != 1 {
			b.WriteByte('s')
		}
		if q.Path != "" {
			fmt.Fprintf(&b, ": %s", q.Path)
		}
		if q.Ops != 1 {
			b.WriteString(" …")
		}
	} else {
		fmt.Fprintf(&b, "%s %s", strings.ToLower(q.Op.String()), q.Path)
	}
	fmt.Fprintf(&b, "\n\nDomain: %d\nConnection: %d\n", q.Dom, q.Conn)
	if q.Tx != 0 {
		fmt.Fprintf(&b, "Transaction: %d\nRequests: %d\n", q.Tx, q.Ops)
	}
	if q.joined > 0 {
		fmt.Fprintf(&b, "Joined: %d earlier commits\n", q.joined)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
