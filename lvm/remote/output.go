package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

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
	id     string
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

func newOutput(ctx context.Context, store *xenstore.Client, id string) *output {
	o := &output{store: store, id: id, base: ctx, looks: make(chan struct{}, 1)}
	o.ctx, o.cancel = context.WithCancelCause(ctx)
	return o
}

func (o *output) node(name string) string { return xenstore.Join(replyDir(o.id), name) }

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
	value := string(o.kind) + string(o.buf)
	o.buf = o.buf[:0]
	if o.err = o.room(); o.err != nil {
		return
	}
	if o.err = o.write(strconv.Itoa(o.pieces), value); o.err == nil {
		o.pieces++
	}
}

// write writes a node of the reply if the caller is still there.
func (o *output) write(name, value string) error {
	return o.store.Transact(o.base, func(tx *xenstore.Tx) error {
		if ok, err := tx.Exists(o.base, o.node("running")); err != nil || !ok {
			return errors.Join(err, errGone)
		}
		if err := tx.Write(o.base, o.node(name), value); err != nil {
			return err
		}
		return tx.Write(o.base, o.node("running"), strconv.Itoa(o.pieces+1))
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
	o.flush()
	defer o.cancel(nil)
	switch {
	case errors.Is(o.err, errStalled):
		o.pieces++ // if there is a caller yet, it is to miss what was dropped
	case o.err != nil:
		return o.err
	}
	return o.store.Transact(o.base, func(tx *xenstore.Tx) error {
		if ok, err := tx.Exists(o.base, o.node("running")); err != nil || !ok {
			return errors.Join(err, errGone)
		}
		return tx.Write(o.base, o.node("code"), fmt.Sprintf("%d %d", code&255, o.pieces))
	})
}
