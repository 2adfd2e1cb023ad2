package blkfront

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"morgana/xen/wire/blkif"
)

// The backend writes what it likes into the ring, wherever and whenever: calls return with their context at the latest,
// nothing else breaks, and a device that is over stays so. A program's instructions are of eight bytes: what, where, and
// six bytes of data.
func FuzzHostileRing(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 8, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0})                         // an answer to nothing
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0, 0, 1, 8, 255, 255, 255, 255, 0, 0})                 // an index that jumps
	f.Add([]byte{0, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}) // twice
	f.Add([]byte{0, 3, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}) // another operation
	if raced {
		f.Skip("what the backend writes into the ring is a race by intention")
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		start := time.Now()
		defer func() {
			if e := time.Since(start); e > 2*time.Second {
				t.Errorf("it took %v", e)
			}
		}()
		l, d := newLoopback(t, blkif.Features{Flush: true, Discard: true, MaxIndirect: 20}, Config{RingOrder: -1, Memory: 1})
		l.mu.Lock()
		l.hold = 1 << 30 // the program answers
		l.mu.Unlock()
		ring := d.preparing.queues[0].pages.Bytes()
		var calls []chan error
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		buf := make([]byte, 64<<10)
		wake := func() {
			select {
			case l.wake <- struct{}{}:
			default:
			}
		}
		for n := 0; len(program) >= 8 && n < 100; program, n = program[8:], n+1 {
			switch program[0] % 6 {
			case 0: // another call
				if len(calls) < 40 {
					op := Op(program[1] % 5)
					r := Request{Op: op, Off: int64(binary.LittleEndian.Uint16(program[2:])), N: int64(program[4]) << 9}
					if op == Read || op == Write {
						r.Bufs = [][]byte{buf[:int(program[5])<<8]}
					}
					if op == Read {
						r.Bufs[0] = make([]byte, len(r.Bufs[0]))
					}
					done := make(chan error, 1)
					calls = append(calls, done)
					go func() { done <- d.Do(ctx, []Request{r}) }()
					_ = l.Notify()
				}
			case 1: // bytes anywhere
				copy(ring[int(program[1])*16:], program[2:8])
				wake()
			case 2: // an event without a reason
				wake()
			case 3, 4: // an answer, nearly right
				l.mu.Lock()
				if len(l.ids) > 0 {
					r := l.ids[int(program[1])%len(l.ids)]
					r.Op = blkif.Op(byte(r.Op) ^ program[2]&program[3])
					r.Status = blkif.Status(program[4] & program[5])
					blkif.Native.PutResponse(l.rsp, r)
					l.back.Put(l.rsp)
					l.back.Push()
				}
				l.mu.Unlock()
				wake()
			case 5: // the answers that are wanted
				l.mu.Lock()
				for _, r := range l.ids {
					blkif.Native.PutResponse(l.rsp, r)
					l.back.Put(l.rsp)
				}
				l.ids = l.ids[:0]
				l.back.Push()
				l.mu.Unlock()
				wake()
			}
		}
		over := d.Err()
		cancel()
		for _, c := range calls {
			select {
			case <-c:
			case <-time.After(10 * time.Second):
				t.Fatal("a call does not return")
			}
		}
		d.Close()
		if err := d.Flush(); over != nil && !errors.Is(err, ErrBackend) || over == nil && err == nil {
			t.Fatal(over, err)
		}
	})
}
