package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"morgana/block"
	"morgana/nbd/wire"
)

// A Client is an export of a server as a block.Device; it is a block.Discarder, block.Zeroer and block.Sparse too, as
// far as the server is. Its methods may be called concurrently, and then their requests are under way together.
type Client struct {
	conn  net.Conn
	r     *bufio.Reader
	info  ExportInfo
	alloc bool // base:allocation was agreed, and so structured replies
	done  chan struct{}

	sending sync.Mutex // held while a request is written
	out     []byte     // guarded by sending

	mu     sync.Mutex
	calls  map[uint64]*request
	cookie uint64
	err    error // why there will be no more replies
}

// ExportInfo is what a server says of an export.
type ExportInfo struct {
	Name, Description string
	Size              int64
	Flags             wire.Flags
	MinBlock          int // bytes; 1 if the server did not say
}

// A request is one that waits for its reply.
type request struct {
	data    []byte // of a read, to be filled
	off     uint64
	extents []wire.Extent
	err     error
	done    chan struct{}
}

// ErrClosed is what methods of a closed Client return.
var ErrClosed = errors.New("nbd: the client is closed")

// NewClient agrees with the server at the other end of c on an export. The connection is the Client's from then on, and
// closed if there is an error. When ctx ends before, the connection is closed.
func NewClient(ctx context.Context, c net.Conn, o ClientOptions) (*Client, error) {
	h := &handshake{conn: c}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	info, alloc, err := h.open(ctx, o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("nbd: export %q: %w", o.Export, err)
	}
	cl := &Client{conn: h.conn, r: h.r, info: info, alloc: alloc, done: make(chan struct{}), calls: map[uint64]*request{}}
	go cl.receive()
	return cl, nil
}

// Info is what the server said of the export.
func (c *Client) Info() ExportInfo { return c.info }

// Size implements block.Device.
func (c *Client) Size() int64 { return c.info.Size }

// SectorSize implements block.Device.
func (c *Client) SectorSize() int {
	if c.info.MinBlock > 512 {
		return 4096
	}
	return 512
}

// Close takes leave of the server, which finishes what it was asked, and closes the connection.
func (c *Client) Close() error {
	c.sending.Lock()
	c.out = wire.AppendRequest(c.out[:0], wire.Request{Command: wire.CmdDisc})
	c.conn.Write(c.out) // the server may be gone
	c.sending.Unlock()
	c.fail(ErrClosed)
	err := c.conn.Close()
	<-c.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// ReadAt implements block.Device.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	err := c.pieces(wire.CmdRead, p, off)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteAt implements block.Device.
func (c *Client) WriteAt(p []byte, off int64) (int, error) {
	err := c.pieces(wire.CmdWrite, p, off)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// pieces reads or writes any length.
func (c *Client) pieces(cmd wire.Command, p []byte, off int64) error {
	if err := block.CheckRange(off, int64(len(p)), c.info.Size); err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(len(p), maxPayload)
		if _, err := c.do(wire.Request{Command: cmd, Offset: uint64(off), Length: uint32(n)}, p[:n]); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Flush implements block.Device.
func (c *Client) Flush() error {
	if c.info.Flags&wire.SendFlush == 0 {
		return nil // the server has no cache
	}
	_, err := c.do(wire.Request{Command: wire.CmdFlush}, nil)
	return err
}

// Discard implements block.Discarder.
func (c *Client) Discard(off, n int64) error {
	if c.info.Flags&wire.SendTrim == 0 {
		return block.CheckRange(off, n, c.info.Size)
	}
	return c.ranges(wire.CmdTrim, off, n)
}

// WriteZeroes implements block.Zeroer.
func (c *Client) WriteZeroes(off, n int64) error {
	if c.info.Flags&wire.SendWriteZeroes == 0 {
		return block.WriteZeroes(struct{ block.Device }{c}, off, n)
	}
	return c.ranges(wire.CmdWriteZeroes, off, n)
}

// maxRange is how much is trimmed or zeroed at once: a server may take its time.
const maxRange = 1 << 30

func (c *Client) ranges(cmd wire.Command, off, n int64) error {
	if err := block.CheckRange(off, n, c.info.Size); err != nil {
		return err
	}
	for n > 0 {
		k := min(n, maxRange)
		if _, err := c.do(wire.Request{Command: cmd, Offset: uint64(off), Length: uint32(k)}, nil); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// Hole implements block.Sparse.
func (c *Client) Hole(off, n int64) (alike int64, hole bool, err error) {
	if err := block.CheckRange(off, n, c.info.Size); err != nil || n == 0 || !c.alloc {
		return n, false, err
	}
	r, err := c.do(wire.Request{Command: wire.CmdBlockStatus, Flags: wire.FlagReqOne, Offset: uint64(off), Length: uint32(min(n, maxRange))}, nil)
	if err != nil {
		return 0, false, err
	}
	if len(r.extents) == 0 {
		return 0, false, errors.New("nbd: block status without an extent")
	}
	x := r.extents[0]
	return min(int64(x.Length), n), x.State&wire.StateZero != 0, nil
}

// do sends a request and waits for its reply.
func (c *Client) do(r wire.Request, data []byte) (*request, error) {
	call := &request{off: r.Offset, done: make(chan struct{})}
	if r.Command == wire.CmdRead {
		call.data = data
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil, c.err
	}
	c.cookie++
	r.Cookie = c.cookie
	c.calls[r.Cookie] = call
	c.mu.Unlock()
	if err := c.send(r, data); err != nil {
		c.fail(fmt.Errorf("nbd: %w", err))
		c.conn.Close()
	}
	<-call.done
	if call.err != nil {
		return nil, fmt.Errorf("%v of %d bytes at %d: %w", r.Command, r.Length, r.Offset, call.err)
	}
	return call, nil
}

func (c *Client) send(r wire.Request, data []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.out = wire.AppendRequest(c.out[:0], r)
	if r.Command == wire.CmdWrite && len(data) <= 64<<10 {
		c.out = append(c.out, data...)
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	if r.Command == wire.CmdWrite && len(data) > 64<<10 {
		_, err := c.conn.Write(data)
		return err
	}
	return nil
}

// fail ends all requests, those to come too. The first reason counts.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	for cookie, call := range c.calls {
		delete(c.calls, cookie)
		call.err = c.err
		close(call.done)
	}
}

// receive takes replies until there are no more.
func (c *Client) receive() {
	defer close(c.done)
	for {
		if err := c.reply(); err != nil {
			c.fail(fmt.Errorf("nbd: the server is lost: %w", unexpected(err)))
			c.conn.Close()
			return
		}
	}
}

// reply takes a simple reply or a chunk.
func (c *Client) reply() error {
	var b [wire.ChunkSize]byte
	if _, err := io.ReadFull(c.r, b[:wire.SimpleSize]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b[:]) != wire.MagicStructured {
		s, err := wire.ParseSimple(b[:wire.SimpleSize])
		if err != nil {
			return err
		}
		call, err := c.waiting(s.Cookie)
		if err != nil {
			return err
		}
		if s.Err != wire.OK {
			call.err = s.Err
		} else if _, err := io.ReadFull(c.r, call.data); err != nil {
			return err
		}
		c.finish(s.Cookie)
		return nil
	}
	if _, err := io.ReadFull(c.r, b[wire.SimpleSize:]); err != nil {
		return err
	}
	k, err := wire.ParseChunk(b[:])
	if err != nil {
		return err
	}
	call, err := c.waiting(k.Cookie)
	if err != nil {
		return err
	}
	if err := c.chunk(k, call); err != nil {
		return err
	}
	if k.Flags&wire.ChunkDone != 0 {
		c.finish(k.Cookie)
	}
	return nil
}

// chunk takes what follows a chunk's header.
func (c *Client) chunk(k wire.Chunk, call *request) error {
	if k.Type == wire.ChunkOffsetData {
		var b [8]byte
		if k.Length <= 8 {
			return fmt.Errorf("%w: a chunk of data with %d bytes", wire.ErrLength, k.Length)
		}
		if _, err := io.ReadFull(c.r, b[:]); err != nil {
			return err
		}
		part, err := call.part(binary.BigEndian.Uint64(b[:]), uint64(k.Length-8))
		if err != nil {
			return err
		}
		_, err = io.ReadFull(c.r, part)
		return err
	}
	if k.Length > 1<<20 {
		return fmt.Errorf("%w: a chunk of %d bytes", wire.ErrLength, k.Length)
	}
	b := make([]byte, k.Length)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return err
	}
	switch {
	case k.Type.IsError():
		errno, message, err := wire.ParseError(b)
		if err != nil {
			return err
		}
		if call.err = errno; message != "" {
			call.err = fmt.Errorf("%w: %s", errno, message)
		}
	case k.Type == wire.ChunkOffsetHole && len(b) == 12:
		part, err := call.part(binary.BigEndian.Uint64(b), uint64(binary.BigEndian.Uint32(b[8:])))
		if err != nil {
			return err
		}
		clear(part)
	case k.Type == wire.ChunkBlockStatus:
		_, extents, err := wire.ParseBlockStatus(b)
		if err != nil {
			return err
		}
		call.extents = extents
	case k.Type != wire.ChunkNone:
		return fmt.Errorf("nbd: a chunk of unknown type %d", k.Type)
	}
	return nil
}

// part is where n bytes at off of the export go in a read's buffer.
func (r *request) part(off, n uint64) ([]byte, error) {
	at := off - r.off
	if off < r.off || at > uint64(len(r.data)) || n > uint64(len(r.data))-at {
		return nil, fmt.Errorf("nbd: data for %d bytes at %d, which were not asked for", n, off)
	}
	return r.data[at : at+n], nil
}

func (c *Client) waiting(cookie uint64) (*request, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.calls[cookie]; call != nil {
		return call, nil
	}
	if c.err != nil {
		return nil, c.err
	}
	return nil, fmt.Errorf("nbd: a reply to %d, which was not asked", cookie)
}

func (c *Client) finish(cookie uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.calls[cookie]; call != nil {
		delete(c.calls, cookie)
		close(call.done)
	}
}
