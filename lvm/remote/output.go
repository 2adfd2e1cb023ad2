package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

var (
	// errGone says that the caller gave up.
	errGone = errors.New("the caller gave up")
	// errStalled says that it does not read.
	errStalled = errors.New("nobody reads the output")
)

// output is the reply to a command while it grows.
type output struct {
	store  *xenstore.Client
	dir    string          // of the reply
	ctx    context.Context // of the command: ends when the caller gives up
	cancel context.CancelCauseFunc
	base   context.Context // of the server
	looks  chan struct{}   // the reply may have changed; capacity 1

	mu     sync.Mutex
	kind   byte // of what is in buf
	buf    []byte
	pieces int // written
	err    error
}

func newOutput(ctx context.Context, store *xenstore.Client, dir string) *output {
	o := &output{store: store, dir: dir, base: ctx, looks: make(chan struct{}, 1)}
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	return o
}

func (o *output) node(name string) string { return xenstore.Join(o.dir, name) }

func (o *output) id() string { return xs.Base(o.dir) }

// look sees whether the caller is still there, and lets the command go on if it waits for that one to read.
func (o *output) look() {
	select {
	case o.looks <- struct{}{}:
	default:
	}
	if ok, err := o.store.Exists(o.base, o.node("running")); err == nil && !ok {
		o.cancel(errGone)
	}
}

// stream is a file of the command's: '1' or '2'.
func (o *output) stream(kind byte) io.Writer { return writer{o, kind} }

type writer struct {
	o    *output
	kind byte
}

func (w writer) Write(p []byte) (int, error) {
	o := w.o
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for len(p) > 0 && o.err == nil {
		if o.kind != w.kind {
			o.flush()
		}
		o.kind = w.kind
		k := min(len(p), PieceMax-len(o.buf))
		o.buf = append(o.buf, p[:k]...)
		p, n = p[k:], n+k
		if len(o.buf) == PieceMax {
			o.flush()
		}
	}
	if o.err != nil {
		return n, o.err
	}
	return n, nil
}

// flush writes what is in buf as a piece. o.mu is held: what is written meanwhile has to wait in any case.
func (o *output) flush() {
	if len(o.buf) == 0 || o.err != nil {
		return
	}
	if o.err = o.room(); o.err == nil {
		o.err = o.write(o.piece())
	}
}

// piece takes what is in buf as a piece, and gives the nodes for it.
func (o *output) piece() map[string]string {
	nodes := map[string]string{strconv.Itoa(o.pieces): string(o.kind) + string(o.buf)}
	o.buf = o.buf[:0]
	o.pieces++
	nodes["running"] = strconv.Itoa(o.pieces)
	return nodes
}

// write writes nodes of the reply if the caller is still there. Its requests go together: the way to xenstored and back
// takes far longer than one of them.
func (o *output) write(nodes map[string]string) error {
	return o.store.Transact(o.base, func(tx *xenstore.Tx) error {
		// First, and alone: in the transaction the caller's node would be there once it is written.
		if there, err := tx.Exists(o.base, o.node("running")); err != nil || !there {
			return errors.Join(err, errGone)
		}
		var wg sync.WaitGroup
		errs := make([]error, len(nodes))
		i := 0
		for name, v := range nodes {
			to := &errs[i]
			i++
			wg.Go(func() { *to = tx.Write(o.base, o.node(name), v) })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

// room waits until the caller has read what is Window pieces back.
func (o *output) room() error {
	if o.pieces < Window {
		return nil
	}
	patience := time.NewTimer(stall)
	defer patience.Stop()
	for {
		full, err := o.store.Exists(o.base, o.node(strconv.Itoa(o.pieces-Window)))
		if err != nil || !full {
			return err
		}
		select {
		case <-o.looks:
		case <-patience.C:
			return errStalled
		case <-o.base.Done():
			return context.Cause(o.base)
		}
	}
}

// end writes the last of the reply.
func (o *output) end(code int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.cancel(nil)
	nodes := make(map[string]string)
	if len(o.buf) > 0 && o.err == nil {
		if o.err = o.room(); o.err == nil {
			nodes = o.piece()
		}
	}
	switch {
	case errors.Is(o.err, errStalled):
		o.pieces++ // if there is a caller yet, it is to miss what was dropped
	case o.err != nil:
		return o.err
	}
	nodes["code"] = fmt.Sprintf("%d %d", code&255, o.pieces)
	return o.write(nodes)
}
