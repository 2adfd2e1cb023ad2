package xenstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"morgana/xen/wire/xs"
)

// Tx is a transaction: what it reads is one state of the tree, what it writes appears at once on Commit or not at
// all. Use it or lose it: daemons allow a domain about ten open ones. Safe for concurrent use.
type Tx struct {
	Tree
}

// Begin starts a transaction. End it with Commit or Abort.
func (c *Client) Begin(ctx context.Context) (*Tx, error) {
	r := c.ask(ctx, &call{op: xs.TransactionStart, payload: []byte{0}, abandoned: func(r result) {
		if id, err := xs.ParseTxID(r.payload); err == nil {
			c.forget(&call{op: xs.TransactionEnd, tx: id, link: r.link, payload: xs.AppendTransactionEnd(nil, false)})
		}
	}})
	if r.err != nil {
		return nil, fail("begin transaction", "", r.err)
	}
	id, err := xs.ParseTxID(r.payload)
	if err != nil {
		return nil, fail("begin transaction", "", c.broken(err))
	}
	return &Tx{Tree{c: c, tx: id, link: r.link}}, nil
}

// Commit ends the transaction and puts its changes in. An error matching ErrAgain says that others changed what it
// read or wrote: nothing was put in, start again. The transaction is over in any case.
func (t *Tx) Commit(ctx context.Context) error { return t.end(ctx, true) }

// Abort ends the transaction without a trace.
func (t *Tx) Abort(ctx context.Context) error { return t.end(ctx, false) }

func (t *Tx) end(ctx context.Context, commit bool) error {
	op := "commit transaction"
	if !commit {
		op = "abort transaction"
	}
	if ctx.Err() != nil {
		// The service must hear of the end, or its quota of transactions fills up.
		t.c.forget(&call{op: xs.TransactionEnd, tx: t.tx, link: t.link, payload: xs.AppendTransactionEnd(nil, false)})
		return fail(op, "", context.Cause(ctx))
	}
	_, err := t.do(ctx, xs.TransactionEnd, xs.AppendTransactionEnd(nil, commit))
	if !commit && errors.Is(err, ErrAgain) { // it went with its connection
		err = nil
	}
	return fail(op, "", err)
}

// Transact runs f in a transaction and commits it, again and again as long as it meets conflicts, until ctx ends.
// f must be ready to run more than once, and must not end the transaction. If f fails, the transaction is aborted
// and its error returned (an ErrAgain from within f counts as a conflict).
func (c *Client) Transact(ctx context.Context, f func(*Tx) error) error {
	for try := 0; ; try++ {
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
		}
		if err = f(tx); err != nil {
			if aerr := tx.Abort(ctx); aerr != nil && errors.Is(aerr, ErrProtocol) {
				return aerr
			}
		} else {
			err = tx.Commit(ctx)
		}
		if !errors.Is(err, ErrAgain) {
			return err
		}
		if err := backOff(ctx, try); err != nil {
			return fail("commit transaction", "", err)
		}
	}
}

// backOff waits longer with each try, at random, so that writers that fight do not meet again at once.
func backOff(ctx context.Context, try int) error {
	if try < 2 {
		return context.Cause(ctx)
	}
	most := time.Millisecond << min(try-2, 6)
	t := time.NewTimer(rand.N(most))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
