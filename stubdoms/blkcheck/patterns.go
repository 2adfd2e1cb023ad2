package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"morgana/block"
	"morgana/xen/blkfront"
)

const (
	walkers = 4
	part    = 1 << 20 // of the disk, for each walker
)

// walks lets several goroutines write, read, zero and discard at once, each in a part of its own that begins and ends
// within a sector, and compares with what should be there.
func walks(disk *blkfront.Disk, steps int, seed uint64) error {
	if disk.Size() < walkers*part+4096 {
		return fmt.Errorf("the disk has %d bytes, at least %d are wanted", disk.Size(), walkers*part+4096)
	}
	var (
		wg   sync.WaitGroup
		errs [walkers]error
	)
	for w := range walkers {
		wg.Go(func() { errs[w] = walk(disk, int64(w)*part+100*int64(w), steps, seed+uint64(w)) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

func walk(disk *blkfront.Disk, begin int64, steps int, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 7))
	model := make([]byte, part)
	if err := disk.WriteZeroes(begin, part); err != nil {
		return err
	}
	for step := range steps {
		off := rnd.Int64N(part)
		n := min(rnd.Int64N(300<<10), part-off)
		if rnd.IntN(2) == 0 {
			n = min(n, rnd.Int64N(2000))
		}
		b := make([]byte, n)
		var err error
		switch rnd.IntN(5) {
		case 0:
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			_, err = disk.WriteAt(b, begin+off)
			copy(model[off:], b)
		case 1:
			err = disk.WriteZeroes(begin+off, n)
			clear(model[off : off+n])
		case 2, 3:
			k := rnd.Int64N(n + 1)
			if err = disk.ReadVec([][]byte{b[:k], b[k:]}, begin+off); err == nil && !bytes.Equal(b, model[off:off+n]) {
				err = fmt.Errorf("%d bytes at %d are not what was written", n, begin+off)
			}
		case 4:
			if err = disk.Discard(begin+off, n); err == nil {
				err = disk.WriteZeroes(begin+off, n)
			}
			clear(model[off : off+n])
			if err == nil {
				err = disk.Flush()
			}
		}
		if err != nil {
			return fmt.Errorf("step %d of seed %d: %w", step, seed, err)
		}
	}
	return nil
}

// stamp fills b, which is at off, with what is different in each 8 bytes of a disk.
func stamp(b []byte, off int64) {
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(off+int64(i))*0x9e3779b97f4a7c15)
	}
}

// fill writes the whole disk, large and in parallel, and reads it again in other pieces.
func fill(disk *blkfront.Disk) error {
	const piece = 1 << 20
	size := disk.Size() / 8 * 8
	var reqs []blkfront.Request
	for off := int64(0); off < size; off += piece {
		b := make([]byte, min(piece, size-off))
		stamp(b, off)
		reqs = append(reqs, blkfront.Request{Op: blkfront.Write, Off: off, Bufs: [][]byte{b}})
		if len(reqs) == 4 || off+piece >= size {
			if err := disk.Do(background, reqs); err != nil {
				return err
			}
			reqs = reqs[:0]
		}
	}
	if err := disk.Flush(); err != nil {
		return err
	}
	got, want := make([]byte, 200<<10), make([]byte, 200<<10)
	for off := int64(0); off < size; off += int64(len(got)) {
		n := min(int64(len(got)), size-off)
		stamp(want[:n], off)
		if _, err := disk.ReadAt(got[:n], off); err != nil {
			return err
		}
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("what was written at %d is not there", off)
		}
	}
	if _, err := disk.ReadAt(got[:2], disk.Size()-1); !errors.Is(err, block.ErrOutOfRange) {
		return fmt.Errorf("a read beyond the end: %w", err)
	}
	return nil
}

// checksum is that of all that is on the disk.
func checksum(disk *blkfront.Disk) (string, error) {
	h := sha256.New()
	b := make([]byte, 256<<10)
	for off := int64(0); off < disk.Size(); off += int64(len(b)) {
		n := min(int64(len(b)), disk.Size()-off)
		if _, err := disk.ReadAt(b[:n], off); err != nil {
			return "", err
		}
		h.Write(b[:n])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
