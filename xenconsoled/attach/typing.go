package attach

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"morgana/xenconsoled"
)

// take hands what a client types to write, a frame at a time, until the client has left, ctx has ended or write fails. While
// write waits for the guest it goes on to look whether the client is still there, and calls cancel when the guest does not
// read what a client typed that has left. The connection has to be closed when ctx ends.
func take(ctx context.Context, cancel context.CancelFunc, in *frames, write func(p []byte) error) {
	typed := make(chan []byte, typedMax)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(typed)
		for {
			kind, body, err := in.next()
			if err != nil || kind != kindInput {
				break
			}
			select {
			case typed <- append([]byte(nil), body...):
			case <-ctx.Done():
				return
			}
		}
		late := time.AfterFunc(leaveTime, cancel) // the guest may not read
		context.AfterFunc(ctx, func() { late.Stop() })
	})
	for b := range typed { // what fits is typed even if the client has left
		if write(b) != nil {
			cancel()
			return
		}
	}
}

// typeAt types what a client sends as the guest's terminal does, and says what the guest was given. When it returns nothing
// more is typed: who connects again learns from the index what was.
func typeAt(ctx context.Context, cancel context.CancelFunc, conn io.Writer, in *frames, c *xenconsoled.Console) error {
	i := info(c)
	var ok bool
	if i.Input, ok = c.Input(); !ok {
		return send(conn, kindFailure, &Failure{CodeNotFound, "the guest's console is not served any more"})
	}
	if err := send(conn, kindInfo, i); err != nil {
		return err
	}
	var (
		given uint64
		buf   []byte
		err   error
	)
	take(ctx, cancel, in, func(p []byte) error {
		// What is typed while a session types alone is dropped.
		if _, err = c.Write(ctx, p); err != nil && !errors.Is(err, xenconsoled.ErrTaken) {
			return err
		}
		given += uint64(len(p))
		index, ok := c.Input()
		if !ok {
			err = xenconsoled.ErrGone
			return err
		}
		buf = appendGiven(buf[:0], given, index)
		_, _ = conn.Write(buf) // a client that has left need not know
		err = nil
		return nil
	})
	return err
}
