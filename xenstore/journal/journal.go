package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"sync"
)

// Storage is what keeps logs and snapshots, by their numbers.
type Storage interface {
	// List returns the numbers of the logs and of the snapshots that there are.
	List() (logs, snapshots []uint64, err error)
	// Log begins a log of at most size bytes, ReadLog reads one: as far as it was written, or more, zeroed.
	Log(n uint64, size int) (Log, error)
	ReadLog(n uint64) ([]byte, error)
	// Write begins a snapshot, Read reads one.
	Write(n uint64) (io.WriteCloser, error)
	Read(n uint64) ([]byte, error)
	// Remove removes logs and snapshots with numbers below n.
	Remove(n uint64) error
}

// Log is what appends are written to, one after the other. One that has a method Size has room for so many bytes only.
type Log interface {
	io.WriterAt
	io.Closer
}

// ErrFull says that a log has no room for an append: Next makes room.
var ErrFull = errors.New("journal: the log is full")

// A frame is a length, a checksum of length, number and payload, the log's number, and the payload.
const frameHeader = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(size uint32, n uint64, b []byte) uint32 {
	var h [12]byte
	binary.LittleEndian.PutUint32(h[:], size)
	binary.LittleEndian.PutUint64(h[4:], n)
	return crc32.Update(crc32.Update(0, castagnoli, h[:]), castagnoli, b)
}

func appendFrame(dst []byte, n uint64, b []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(b)))
	dst = binary.LittleEndian.AppendUint32(dst, sum(uint32(len(b)), n, b))
	dst = binary.LittleEndian.AppendUint64(dst, n)
	return append(dst, b...)
}

// frames calls f with the payload of each frame, up to the first that is not whole. It reports whether the last one was
// empty, which ends a snapshot.
func frames(b []byte, n uint64, f func([]byte) error) (ended bool, err error) {
	for len(b) >= frameHeader {
		size := binary.LittleEndian.Uint32(b)
		if uint64(size) > uint64(len(b)-frameHeader) || binary.LittleEndian.Uint64(b[8:]) != n {
			return false, nil
		}
		payload := b[frameHeader : frameHeader+int(size)]
		if binary.LittleEndian.Uint32(b[4:]) != sum(size, n, payload) {
			return false, nil
		}
		if size == 0 {
			return true, nil
		}
		if err := f(payload); err != nil {
			return false, err
		}
		b = b[min(frameHeader+(int(size)+7)&^7, len(b)):]
	}
	return false, nil
}

// Replay calls f with the records of the newest snapshot that is complete and of the logs after it, in order. It reports
// whether there was a snapshot.
func Replay(s Storage, f func(records []byte) error) (bool, error) {
	logs, snapshots, err := s.List()
	if err != nil {
		return false, err
	}
	slices.Sort(logs)
	slices.Sort(snapshots)
	for _, n := range slices.Backward(snapshots) {
		b, err := s.Read(n)
		if err != nil {
			return false, err
		}
		whole, err := frames(b, n, func([]byte) error { return nil })
		if err != nil || !whole {
			continue
		}
		if _, err := frames(b, n, f); err != nil {
			return false, fmt.Errorf("snapshot %d: %w", n, err)
		}
		for next := n; ; next++ {
			if _, ok := slices.BinarySearch(logs, next); !ok {
				return true, nil
			}
			log, err := s.ReadLog(next)
			if err != nil {
				return false, err
			}
			if _, err := frames(log, next, f); err != nil {
				return false, fmt.Errorf("log %d: %w", next, err)
			}
		}
	}
	return false, nil
}

// Sizes of logs, in bytes. One is four times as large as the last snapshot, within these bounds.
const (
	logMin = 4 << 20
	logMax = 32 << 20
)

// Pieces gives a snapshot piece by piece: it appends one to dst and reports whether more follow.
type Pieces func(dst []byte) ([]byte, bool)

// Journal is open for appending. Not safe for concurrent use.
type Journal struct {
	storage Storage
	n       uint64
	log     Log
	size    int // of the log
	off     int
	frame   []byte
	last    int // bytes of the last snapshot

	wg    sync.WaitGroup
	mu    sync.Mutex
	busy  bool // a snapshot is being written
	wrote int  // bytes of the one that was written
	err   error
}

// Begin starts a new log after everything that a storage has, and writes a snapshot of the present state; what there was
// before is removed.
func Begin(s Storage, head []byte, more Pieces) (*Journal, error) {
	logs, snapshots, err := s.List()
	if err != nil {
		return nil, err
	}
	j := &Journal{storage: s, n: 1}
	for _, n := range append(logs, snapshots...) {
		j.n = max(j.n, n+1)
	}
	size, err := j.snapshot(j.n, head, more)
	if err != nil {
		return nil, err
	}
	j.last = size
	if err := j.open(); err != nil {
		return nil, err
	}
	return j, s.Remove(j.n)
}

func (j *Journal) open() (err error) {
	if j.log != nil {
		err = j.log.Close()
	}
	var lerr error
	j.size, j.off = min(max(4*j.last, logMin), logMax), 0
	j.log, lerr = j.storage.Log(j.n, j.size)
	if l, ok := j.log.(interface{ Size() int }); ok {
		j.size = min(j.size, l.Size())
	}
	return errors.Join(err, lerr)
}

// Append adds records. They are kept when it returns.
func (j *Journal) Append(records []byte) error {
	if len(records) == 0 {
		return nil
	}
	size := frameHeader + (len(records)+7)&^7
	if size > j.size-j.off {
		return ErrFull
	}
	j.frame = appendFrame(j.frame[:0], j.n, records)
	if _, err := j.log.WriteAt(j.frame, int64(j.off)); err != nil {
		return err
	}
	j.off += size
	if cap(j.frame) > 1<<18 {
		j.frame = nil
	}
	return nil
}

// Full reports that Next is due: three quarters of the log are used, and no snapshot is being written.
func (j *Journal) Full() bool {
	if j.off < j.size/4*3 {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.busy
}

// Busy reports that a snapshot is being written.
func (j *Journal) Busy() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.busy
}

// Next begins a new log and, in a goroutine, a snapshot of the present state. If one is still being written it waits for
// it.
func (j *Journal) Next(head []byte, more Pieces) error {
	j.wg.Wait()
	j.mu.Lock()
	err := j.err
	j.busy = true
	if j.wrote > 0 {
		j.last = j.wrote
	}
	j.mu.Unlock()
	if err != nil {
		return err
	}
	j.n++
	if err := j.open(); err != nil {
		return err
	}
	n := j.n
	j.wg.Go(func() {
		size, err := j.snapshot(n, head, more)
		if err == nil {
			err = j.storage.Remove(n)
		}
		j.mu.Lock()
		j.busy, j.wrote, j.err = false, size, err
		j.mu.Unlock()
	})
	return nil
}

// Close waits for a snapshot that is being written. Appending may go on.
func (j *Journal) Close() error {
	j.wg.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// snapshot writes a snapshot whole.
func (j *Journal) snapshot(n uint64, head []byte, more Pieces) (int, error) {
	w, err := j.storage.Write(n)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	written := 0
	put := func(b []byte) error {
		m, err := w.Write(b)
		written += m
		return err
	}
	piece, buf, next := head, []byte(nil), []byte(nil)
	for going := true; ; {
		if len(piece) > 0 {
			buf = appendFrame(buf[:0], n, piece)
			for len(buf)%8 != 0 {
				buf = append(buf, 0)
			}
			if err := put(buf); err != nil {
				return written, err
			}
		}
		if !going {
			break
		}
		runtime.Gosched() // whoever appends is in more of a hurry
		piece, going = more(next[:0])
		next = piece
	}
	if err := put(appendFrame(nil, n, nil)); err != nil {
		return written, err
	}
	return written, w.Close()
}
