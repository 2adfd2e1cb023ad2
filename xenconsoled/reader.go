package xenconsoled

import (
	"context"
	"io"
	"time"
)

// Policy says what becomes of a reader that lags.
type Policy uint8

const (
	// Newest: it misses what the scrollback has no room for any more, and is told.
	Newest Policy = iota
	// Ends: the oldest and the newest bytes that it has not read are kept, what is between is dropped.
	Ends
	// Every: the guest has to wait for it.
	Every
)

// Reader reads a stream. Its methods are for one goroutine at a time, except Close.
type Reader struct {
	s      *Stream
	policy Policy
	limit  int // Every: how far it may lag; Ends: how much is kept of the oldest

	// Guarded by s.mu.
	pos    uint64 // the next byte
	head   []byte // Ends: the oldest bytes, which were about to be overwritten; they end where pos is
	want   uint64 // wake when the stream has got here; 0: nobody waits
	wake   chan struct{}
	closed bool
}

// NewReader makes a reader that begins at byte from, or at the oldest that is kept if that one is gone. limit is how
// many bytes it may lag (Every) or how many of the oldest are kept for it (Ends); it is at most the scrollback.
func (s *Stream) NewReader(from uint64, policy Policy, limit int) *Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit <= 0 || limit > len(s.data) {
		limit = len(s.data)
	}
	r := &Reader{s: s, policy: policy, limit: limit, pos: min(max(from, s.startLocked()), s.end), wake: make(chan struct{}, 1)}
	s.readers = append(s.readers, r)
	return r
}

// beforeLocked prepares for the stream's growth to end.
func (r *Reader) beforeLocked(end uint64) {
	if r.policy != Ends || r.head != nil {
		return
	}
	r.skipLocked() // it may have lost what was between
	if end-r.pos <= uint64(len(r.s.data)) {
		return
	}
	head := make([]byte, min(uint64(r.limit), r.s.end-r.pos))
	r.pos += uint64(r.s.copyLocked(head, r.pos))
	r.head = head
}

// skipLocked goes to the oldest byte that is kept, if the next one is gone.
func (r *Reader) skipLocked() {
	if start := r.s.startLocked(); r.pos < start {
		r.s.dropped.Add(start - r.pos)
		r.pos = start
	}
}

func (r *Reader) pokeLocked() {
	if r.want != 0 && (r.s.end >= r.want || r.s.closed || r.closed) {
		r.want = 0
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// releasedLocked tells the writer that there may be room.
func (r *Reader) releasedLocked() {
	if r.policy == Every {
		select {
		case r.s.room <- struct{}{}:
		default:
		}
	}
}

// Position is the number of the next byte that Read returns, if none is lost meanwhile.
func (r *Reader) Position() uint64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.pos - uint64(len(r.head))
}

// Pending is how many bytes there are to read.
func (r *Reader) Pending() int {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.pendingLocked()
}

func (r *Reader) pendingLocked() int {
	return len(r.head) + int(min(r.s.end-r.pos, uint64(len(r.s.data))))
}

// Wait waits until n bytes or more are there to read, or there will never be: n is at most the scrollback. It returns
// io.EOF when the stream was closed and nothing is left, io.ErrUnexpectedEOF when it was left, and io.ErrClosedPipe when the
// reader was closed.
func (r *Reader) Wait(ctx context.Context, n int) error { return r.wait(ctx, n, nil) }

// WaitBatch is Wait for a byte, and then for n bytes or until d has passed, so that others come with it.
func (r *Reader) WaitBatch(ctx context.Context, n int, d time.Duration) error {
	if err := r.wait(ctx, 1, nil); err != nil || r.Pending() >= n {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	return r.wait(ctx, n, t.C)
}

// wait is Wait that ends without an error when late says so.
func (r *Reader) wait(ctx context.Context, n int, late <-chan time.Time) error {
	for {
		r.s.mu.Lock()
		have := r.pendingLocked()
		switch {
		case r.closed:
			r.s.mu.Unlock()
			return io.ErrClosedPipe
		case have >= n, have > 0 && r.s.closed:
			r.s.mu.Unlock()
			return nil
		case r.s.closed:
			left := r.s.left
			r.s.mu.Unlock()
			if left {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		}
		r.want = r.s.end + uint64(n-have)
		r.s.mu.Unlock()
		select {
		case <-r.wake:
		case <-late:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Read copies what there is, at most len(p), and returns the number of the first byte of it. Bytes before that one were
// lost if it is not where the last Read ended. It does not wait: n is 0 if there is nothing.
func (r *Reader) Read(p []byte) (n int, from uint64) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if len(r.head) > 0 {
		n = copy(p, r.head)
		from = r.pos - uint64(len(r.head))
		if r.head = r.head[n:]; len(r.head) == 0 {
			r.head = nil
		}
		return n, from
	}
	r.skipLocked()
	from = r.pos
	n = r.s.copyLocked(p, from)
	r.pos += uint64(n)
	if n > 0 {
		r.releasedLocked()
	}
	return n, from
}

// Peek returns what there is in place, at most most bytes, and Skip goes on. Only for a reader that has to have every
// byte: what it has not skipped is not overwritten.
func (r *Reader) Peek(most int) []byte {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	at := int(r.pos) & (len(r.s.data) - 1)
	n := min(most, int(r.s.end-r.pos), len(r.s.data)-at)
	return r.s.data[at : at+n]
}

// Copy copies what there is, at most len(p), and stays where it is. For the same readers as Peek.
func (r *Reader) Copy(p []byte) int {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.copyLocked(p, r.pos)
}

// Skip goes n bytes on.
func (r *Reader) Skip(n int) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.pos += uint64(n)
	r.releasedLocked()
}

// Seek goes to byte from, as NewReader does.
func (r *Reader) Seek(from uint64) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.head = nil
	r.pos = min(max(from, r.s.startLocked()), r.s.end)
	r.releasedLocked()
}

// SetPolicy changes what becomes of the reader when it lags. One that is to have every byte has them from now on.
func (r *Reader) SetPolicy(p Policy) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.policy = p
	if p == Every {
		r.skipLocked()
		return
	}
	select { // it does not hold the writer up any more
	case r.s.room <- struct{}{}:
	default:
	}
}

// Close ends a Wait under way; nobody waits for the reader any more. Idempotent.
func (r *Reader) Close() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	for i, o := range r.s.readers {
		if o == r {
			r.s.readers = append(r.s.readers[:i], r.s.readers[i+1:]...)
			break
		}
	}
	r.want = max(r.want, 1)
	r.pokeLocked()
	r.releasedLocked()
}
