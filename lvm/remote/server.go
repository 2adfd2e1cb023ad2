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

// Command carries out a command line and returns its exit code, 0 to 255. ctx ends when the caller gives up.
type Command func(ctx context.Context, args []string, stdout, stderr io.Writer) int

// Serve takes commands for this domain until ctx ends, whose error it returns then, or the connection to xenstore does.
// They are carried out one at a time; Serve returns when the one under way is over.
func Serve(ctx context.Context, store *xenstore.Client, run Command) error {
	s := &server{store: store, run: run, over: make(chan struct{}, 1), done: make(map[string]time.Time)}
	// The directories are made in the domain's own name: what dom0 makes in them is the domain's too, and may be removed
	// by it.
	for _, d := range []string{"request", "reply"} {
		if err := store.Mkdir(ctx, xenstore.Join(Dir, d)); err != nil {
			return fmt.Errorf("remote: %w", err)
		}
	}
	w, err := store.Watch(ctx, Dir)
	if err != nil {
		return fmt.Errorf("remote: %w", err)
	}
	defer w.Close()
	if err := s.interrupted(ctx); err != nil {
		return fmt.Errorf("remote: %w", err)
	}
	if err := store.Write(ctx, xenstore.Join(Dir, "serving"), "1"); err != nil {
		return fmt.Errorf("remote: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = store.Remove(ctx, xenstore.Join(Dir, "serving")) // nobody is served in any case
	}()
	if err := s.serve(ctx, w); err != nil {
		return fmt.Errorf("remote: %w", err)
	}
	return context.Cause(ctx)
}

type server struct {
	store *xenstore.Client
	run   Command
	wg    sync.WaitGroup
	out   *output              // of the command under way; nil if there is none
	over  chan struct{}        // it ended; capacity 1
	done  map[string]time.Time // replies that are complete, and since when
}

func replyDir(id string) string { return xenstore.Join(Dir, "reply", id) }

// interrupted answers the commands that another life of this domain had begun.
func (s *server) interrupted(ctx context.Context) error {
	ids, err := s.store.List(ctx, xenstore.Join(Dir, "reply"))
	if err != nil {
		return err
	}
	for _, id := range ids {
		s.done[id] = time.Now()
		if ended, err := s.store.Exists(ctx, xenstore.Join(replyDir(id), "code")); err != nil || ended {
			continue
		}
		o := newOutput(ctx, s.store, id)
		names, err := s.store.List(ctx, replyDir(id))
		if err != nil {
			return err
		}
		for _, n := range names {
			if i, err := strconv.Atoi(n); err == nil {
				o.pieces = max(o.pieces, i+1)
			}
		}
		// Pieces that were read are not there to be counted: their number is in running.
		if v, err := s.store.ReadUint(ctx, xenstore.Join(replyDir(id), "running"), 31); err == nil {
			o.pieces = max(o.pieces, int(v))
		}
		_, _ = o.stream('2').Write([]byte("  The storage domain started again in the middle of this command; see whether it was carried out.\n"))
		if err := o.end(Interrupted); err != nil && !errors.Is(err, errGone) {
			return err
		}
	}
	return nil
}

func (s *server) serve(ctx context.Context, w *xenstore.Watch) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	sweep := time.NewTicker(linger / 4)
	defer sweep.Stop()
	for {
		if s.out == nil {
			if err := s.next(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		select {
		case _, ok := <-w.Events():
			if !ok {
				return w.Err()
			}
			drain(w) // one look is enough for all that there is
			if s.out != nil {
				s.out.look()
			}
		case <-s.over:
			s.done[s.out.id] = time.Now()
			s.out = nil
		case <-sweep.C:
			s.sweep(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// drain takes the events that have come.
func drain(w *xenstore.Watch) {
	for {
		select {
		case _, ok := <-w.Events():
			if !ok {
				return // the next receive finds that out, too
			}
		default:
			return
		}
	}
}

// next begins with a command, if there is one.
func (s *server) next(ctx context.Context) error {
	ids, err := s.store.List(ctx, xenstore.Join(Dir, "request"))
	if err != nil {
		return err
	}
	for _, id := range ids {
		request := xenstore.Join(Dir, "request", id)
		if !validID(id) {
			if err := s.store.Remove(ctx, request); err != nil {
				return err
			}
			continue
		}
		var value string
		err := s.store.Transact(ctx, func(tx *xenstore.Tx) (err error) {
			if value, err = tx.Read(ctx, request); err != nil {
				return err
			}
			if err := tx.Remove(ctx, request); err != nil {
				return err
			}
			return tx.Write(ctx, xenstore.Join(replyDir(id), "running"), "0")
		})
		if errors.Is(err, xenstore.ErrNotExist) {
			continue // the caller gave up
		}
		if err != nil {
			return err
		}
		s.begin(ctx, id, value)
		return nil
	}
	return nil
}

// begin carries out a command, in a goroutine of its own.
func (s *server) begin(ctx context.Context, id, value string) {
	o := newOutput(ctx, s.store, id)
	s.out = o
	s.wg.Go(func() {
		code := 2
		if args, err := parseCommand(value); err != nil {
			fmt.Fprintf(o.stream('2'), "  %v\n", err)
		} else {
			code = s.run(o.ctx, args, o.stream('1'), o.stream('2'))
		}
		_ = o.end(code) // who gave up wants no reply
		s.over <- struct{}{}
	})
}

// sweep removes replies that nobody fetched.
func (s *server) sweep(ctx context.Context) {
	for id, since := range s.done {
		if time.Since(since) < linger {
			continue
		}
		if s.store.Remove(ctx, replyDir(id)) == nil {
			delete(s.done, id)
		}
	}
}
