package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"morgana/block"
	"morgana/nbd/wire"
)

// serve carries a request out and replies. An error means that the connection is of no more use.
func (w *worker) serve(r wire.Request, data []byte, errno wire.Errno) error {
	switch {
	case errno != wire.OK:
	case r.Command == wire.CmdRead:
		return w.read(r)
	case r.Command == wire.CmdBlockStatus:
		return w.blockStatus(r)
	default:
		errno = w.errno(r, w.do(r, data))
	}
	return w.answer(r, errno)
}

// do carries out what has no data to send back.
func (w *worker) do(r wire.Request, data []byte) (err error) {
	d, off, n := w.export.Device, int64(r.Offset), int64(r.Length)
	switch r.Command {
	case wire.CmdWrite:
		if data != nil { // else next has written it
			_, err = d.WriteAt(data, off)
		}
	case wire.CmdFlush:
		if w.export.ReadOnly {
			return nil
		}
		return d.Flush()
	case wire.CmdTrim:
		err = w.export.discard.Discard(off, n)
	case wire.CmdCache:
		for end := off + n; off < end && err == nil; {
			b := w.data(int(min(end-off, maxBuffer)))
			_, err = d.ReadAt(b, off)
			off += int64(len(b))
		}
		return err
	case wire.CmdWriteZeroes:
		err = w.writeZeroes(r)
	}
	if err == nil && r.Flags&wire.FlagFUA != 0 {
		err = d.Flush()
	}
	return err
}

func (w *worker) writeZeroes(r wire.Request) error {
	slow := r.Flags&wire.FlagNoHole != 0 || w.export.zero == nil
	if !slow {
		return w.export.zero.WriteZeroes(int64(r.Offset), int64(r.Length))
	}
	if r.Flags&wire.FlagFastZero != 0 {
		return errors.ErrUnsupported
	}
	b := w.data(int(min(r.Length, maxBuffer)))
	clear(b)
	for at, end := int64(r.Offset), int64(r.Offset)+int64(r.Length); at < end; {
		k := min(end-at, int64(len(b)))
		if _, err := w.export.Device.WriteAt(b[:k], at); err != nil {
			return err
		}
		at += k
	}
	return nil
}

// errno is what a client is told of a device's error, whose own words may name what is not the client's business: they
// go to the log.
func (s *session) errno(r wire.Request, err error) wire.Errno {
	if err == nil {
		return wire.OK
	}
	if r.Flags&wire.FlagFastZero != 0 && errors.Is(err, errors.ErrUnsupported) {
		return wire.ENOTSUP // an answer and no trouble
	}
	s.server.config.Log.Error("request failed", "export", s.export.Name, "command", r.Command.String(), "offset", r.Offset,
		"length", r.Length, "error", err)
	switch {
	case errors.Is(err, block.ErrReadOnly), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EROFS):
		return wire.EPERM
	case errors.Is(err, block.ErrOutOfRange):
		return wire.EINVAL
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return wire.ENOSPC
	case errors.Is(err, syscall.ENOMEM):
		return wire.ENOMEM
	case errors.Is(err, errors.ErrUnsupported):
		return wire.ENOTSUP
	}
	return wire.EIO
}

// answer sends a reply without data.
func (w *worker) answer(r wire.Request, e wire.Errno) error {
	b := w.buf[:0]
	if e != wire.OK && w.structured && (r.Command == wire.CmdRead || r.Command == wire.CmdBlockStatus) {
		b = wire.AppendChunk(b, wire.Chunk{Flags: wire.ChunkDone, Type: wire.ChunkError, Cookie: r.Cookie, Length: 6})
		b = wire.AppendError(b, e, "")
	} else {
		b = wire.AppendSimple(b, wire.Simple{Err: e, Cookie: r.Cookie})
	}
	return w.write(b)
}

// write sends one whole reply, or one whole chunk.
func (s *session) write(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.conn.Write(b)
	return err
}

// read answers a read: in one piece where it fits into a buffer, else in several.
func (w *worker) read(r wire.Request) error {
	b := w.data(int(r.Length))
	if _, err := w.export.Device.ReadAt(b, int64(r.Offset)); err != nil {
		return w.answer(r, w.errno(r, err))
	}
	whole := len(b) == int(r.Length)
	switch {
	case !w.structured:
		h := w.buf[headroom-wire.SimpleSize : headroom]
		wire.AppendSimple(h[:0], wire.Simple{Cookie: r.Cookie})
		if whole {
			return w.write(w.buf[headroom-wire.SimpleSize : headroom+len(b)])
		}
		return w.stream(r, w.buf[headroom-wire.SimpleSize:headroom+len(b)], len(b))
	case !whole && r.Flags&wire.FlagDF != 0:
		w.chunkHeader(r, r.Offset, int(r.Length), wire.ChunkDone)
		return w.stream(r, w.buf[:headroom+len(b)], len(b))
	}
	for at, end := r.Offset, r.Offset+uint64(r.Length); ; {
		flags := uint16(0)
		if at += uint64(len(b)); at == end {
			flags = wire.ChunkDone
		}
		w.chunkHeader(r, at-uint64(len(b)), len(b), flags)
		if err := w.write(w.buf[:headroom+len(b)]); err != nil || at == end {
			return err
		}
		b = w.data(int(min(end-at, maxBuffer)))
		if _, err := w.export.Device.ReadAt(b, int64(at)); err != nil {
			return w.answer(r, w.errno(r, err))
		}
	}
}

// chunkHeader puts the header of n bytes of data before them.
func (w *worker) chunkHeader(r wire.Request, off uint64, n int, flags uint16) {
	h := wire.AppendChunk(w.buf[:0], wire.Chunk{Flags: flags, Type: wire.ChunkOffsetData, Cookie: r.Cookie, Length: uint32(8 + n)})
	binary.BigEndian.AppendUint64(h, off)
}

// stream sends a reply whose header promises more than a buffer: first, which ends in n bytes of data, then the rest.
// When reading fails then, there is no way to tell but hanging up.
func (w *worker) stream(r wire.Request, first []byte, n int) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if _, err := w.conn.Write(first); err != nil {
		return err
	}
	for at, end := r.Offset+uint64(n), r.Offset+uint64(r.Length); at < end; {
		b := w.data(int(min(end-at, maxBuffer)))
		if _, err := w.export.Device.ReadAt(b, int64(at)); err != nil {
			return fmt.Errorf("export %q: %w, in the midst of a reply", w.export.Name, err)
		}
		if _, err := w.conn.Write(b); err != nil {
			return err
		}
		at += uint64(len(b))
	}
	return nil
}

const (
	maxExtents = 4096 // in one reply
	maxLooks   = 8192 // at the device for one reply; ones that are alike are joined
)

// blockStatus answers with what is allocated. The reply may cover less than what was asked for, but not nothing.
func (w *worker) blockStatus(r wire.Request) error {
	limit := maxExtents
	if r.Flags&wire.FlagReqOne != 0 {
		limit = 1
	}
	out := binary.BigEndian.AppendUint32(w.data(4 + limit*wire.ExtentSize)[:0], allocationID)
	var last wire.Extent
	n := 0
	for at, end, looks := int64(r.Offset), int64(r.Offset)+int64(r.Length), 0; at < end && looks < maxLooks; looks++ {
		length, hole := end-at, false
		if w.export.sparse != nil {
			var err error
			if length, hole, err = w.export.sparse.Hole(at, end-at); err != nil {
				return w.answer(r, w.errno(r, err))
			}
		}
		x := wire.Extent{Length: uint32(length)}
		if hole {
			x.State = wire.StateHole | wire.StateZero
		}
		switch {
		case n > 0 && last.State == x.State:
			last.Length += x.Length
		case n == limit:
			at = end
			continue
		default:
			if n > 0 {
				out = wire.AppendExtent(out, last)
			}
			last = x
			n++
		}
		at += length
	}
	out = wire.AppendExtent(out, last)
	h := wire.AppendChunk(w.buf[:8], wire.Chunk{Flags: wire.ChunkDone, Type: wire.ChunkBlockStatus, Cookie: r.Cookie, Length: uint32(len(out))})
	return w.write(w.buf[8 : len(h)+len(out)])
}
