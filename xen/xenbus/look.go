package xenbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"morgana/xen/xenbus/handshake"
	"morgana/xenstore"
)

// Nodes reads a node of the peer's directory, or of the device's own, by its name below it. ok is false if the node
// does not exist or cannot be read. It is for the call that it was given to.
type Nodes func(name string) (value string, ok bool)

// ErrRemoved says that the tool stack removed the device.
var ErrRemoved = errors.New("the tool stack removed the device")

// ErrNotOurs is what open says of a device that another backend of this domain serves: a kernel's, for one. Nothing is
// written, and open is asked again when something in its directory changes.
var ErrNotOurs = errors.New("another backend's device")

// errChanged says that what a step was decided on is not so any more.
var errChanged = errors.New("states have changed")

// Error is a device that could not be served.
type Error struct {
	Device string // its directory
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("xenbus: %s: %v", e.Device, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// nodesOf reads nodes below a directory.
func nodesOf(ctx context.Context, t *xenstore.Tree, dir string) Nodes {
	return func(name string) (string, bool) {
		v, err := t.Read(ctx, xenstore.Join(dir, name))
		return v, err == nil
	}
}

// absent reports whether a read failed because of the node and not of the connection: to us there is no node then.
func absent(err error) bool {
	return errors.Is(err, xenstore.ErrNotExist) || errors.Is(err, xenstore.ErrPermission)
}

// readState reads the state of a half; ok is false if there is none.
func readState(ctx context.Context, t *xenstore.Tree, dir string) (s handshake.State, ok bool, err error) {
	v, err := t.Read(ctx, xenstore.Join(dir, "state"))
	if absent(err) {
		return handshake.Closed, false, nil
	}
	return handshake.ParseState(v), err == nil, err
}

// readOnline reads a backend's node "online"; absence is what a node that does not exist means.
func readOnline(ctx context.Context, t *xenstore.Tree, dir string, absence bool) (bool, error) {
	v, err := t.Read(ctx, xenstore.Join(dir, "online"))
	if absent(err) {
		return absence, nil
	}
	return strings.TrimSpace(v) != "0", err
}

// transact runs transactions: a client's Transact, or one that takes turns.
type transact func(ctx context.Context, f func(*xenstore.Tx) error) error

// writeIf writes nodes and a state into dir, in a transaction in which same first reports that what was decided on is
// still so. It returns errChanged if it is not.
func writeIf(ctx context.Context, do transact, dir string, same func(t *xenstore.Tree) (bool, error), nodes map[string]string, s handshake.State) error {
	return do(ctx, func(tx *xenstore.Tx) error {
		ok, err := same(&tx.Tree)
		if err != nil {
			return err
		}
		if !ok {
			return errChanged
		}
		var all together
		for name, v := range nodes {
			all.do(func() error { return tx.Write(ctx, xenstore.Join(dir, name), v) })
		}
		if s != handshake.Unknown {
			all.do(func() error { return tx.Write(ctx, xenstore.Join(dir, "state"), s.Value()) })
		}
		return all.wait()
	})
}

// together is requests that are under way at the same time: the way to xenstored and back takes far longer than a
// request.
type together struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func (t *together) do(f func() error) {
	t.wg.Go(func() {
		if err := f(); err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.errs = append(t.errs, err)
		}
	})
}

// wait waits for all and gives an error of one.
func (t *together) wait() error {
	t.wg.Wait()
	if len(t.errs) > 0 {
		return t.errs[0]
	}
	return nil
}

// exists reports whether a half is still there: the condition of what is written without a look at the states.
func exists(ctx context.Context, dir string) func(t *xenstore.Tree) (bool, error) {
	return func(t *xenstore.Tree) (bool, error) {
		_, there, err := readState(ctx, t, dir)
		return there, err
	}
}

// errorMax bounds what goes into a node "error": xenstore's quota for a node is 2048 bytes.
const errorMax = 512

// tell writes an error where a person looks for it. That it could not be written is no error of its own: the states
// tell that the device is closed.
func tell(ctx context.Context, do transact, dir string, reason error) {
	text := reason.Error()
	text = text[:min(len(text), errorMax)]
	_ = writeIf(ctx, do, dir, exists(ctx, dir), map[string]string{"error": text}, handshake.Unknown)
}
