package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/block"
	"morgana/block/file"
	"morgana/nbd/wire"
)

// serve starts a server on a unix socket and returns the socket's name. The server ends with the test.
func serve(t testing.TB, c Config) string {
	t.Helper()
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
	})
	return name
}

func dial(t testing.TB, socket string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func client(t testing.TB, socket, export string) *Client {
	t.Helper()
	c, err := NewClient(context.Background(), dial(t, socket), ClientOptions{Export: export})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func fill(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// Any mixture of requests, many at a time over two connections, does to an export what it does to memory.
func TestConcurrentRandomAccess(t *testing.T) {
	const size, areas = 8 << 20, 8
	dev := block.NewMem(size, 512)
	socket := serve(t, Config{Exports: []Export{{Name: "a", Device: dev}}})
	clients := []*Client{client(t, socket, "a"), client(t, socket, "")}
	want := make([]byte, size)
	var wg sync.WaitGroup
	for i := range areas { // each goroutine has an area of its own, so that there is one right content
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			area := want[i*size/areas : (i+1)*size/areas]
			base := int64(i * size / areas)
			for range 300 {
				c := clients[r.IntN(2)]
				off := r.IntN(len(area))
				n := 1 + r.IntN(min(len(area)-off, 1<<uint(r.IntN(20))))
				var err error
				switch r.IntN(5) {
				case 0, 1:
					b := fill(n, byte(r.Uint32()))
					copy(area[off:], b)
					_, err = c.WriteAt(b, base+int64(off))
				case 2:
					clear(area[off : off+n])
					err = c.WriteZeroes(base+int64(off), int64(n))
				case 3:
					err = c.Flush()
				default:
					b := make([]byte, n)
					if _, err = c.ReadAt(b, base+int64(off)); err == nil && !bytes.Equal(b, area[off:off+n]) {
						t.Errorf("%d bytes at %d are not what was written", n, base+int64(off))
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := make([]byte, size)
	if _, err := dev.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the device is not what was written; %v", err)
	}
}

// Reads and writes that are longer than a worker's buffer go in pieces.
func TestLongTransfers(t *testing.T) {
	dev := block.NewMem(40<<20, 512)
	socket := serve(t, Config{Exports: []Export{{Device: dev}}})
	c := client(t, socket, "")
	want := fill(34<<20, 1)
	if _, err := c.WriteAt(want, 12345); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := c.ReadAt(got, 12345); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read back differs; %v", err)
	}
	// The same with simple replies, and in one chunk.
	for _, structured := range []bool{false, true} {
		conn := rawConn(t, socket, structured)
		conn.Write(wire.AppendRequest(nil, wire.Request{Command: wire.CmdRead, Flags: dfIf(structured), Cookie: 9, Offset: 12345, Length: 30 << 20}))
		head := wire.SimpleSize
		if structured {
			head = headroom
		}
		b := make([]byte, head+30<<20)
		if _, err := io.ReadFull(conn, b); err != nil || !bytes.Equal(b[head:], want[:30<<20]) {
			t.Fatalf("structured %v: differs; %v", structured, err)
		}
	}
}

func dfIf(structured bool) wire.CommandFlags {
	if structured {
		return wire.FlagDF
	}
	return 0
}

// rawConn is a connection in transmission.
func rawConn(t testing.TB, socket string, structured bool) net.Conn {
	t.Helper()
	c := dial(t, socket)
	h := &handshake{conn: c}
	if err := h.start(context.Background(), ClientOptions{}); err != nil {
		t.Fatal(err)
	}
	if structured {
		if err := h.ask(wire.OptStructuredReply, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.choose(wire.OptGo, ExportInfo{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHoles(t *testing.T) {
	f, err := file.Create(filepath.Join(t.TempDir(), "f"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, dev := range map[string]block.Device{"file": f, "memory": block.NewMem(1<<20, 512)} {
		t.Run(name, func(t *testing.T) {
			c := client(t, serve(t, Config{Exports: []Export{{Device: dev}}}), "")
			if _, err := c.WriteAt(fill(128<<10, 1), 256<<10); err != nil {
				t.Fatal(err)
			}
			var got []int64
			for off := int64(0); off < c.Size(); {
				n, hole, err := c.Hole(off, c.Size()-off)
				if err != nil {
					t.Fatal(err)
				}
				if off += n; hole {
					n = -n
				}
				got = append(got, n)
			}
			if len(got) != 3 || got[0] != -256<<10 || got[1] != 128<<10 || got[2] != -640<<10 {
				t.Errorf("holes (negative) and data: %d", got)
			}
		})
	}
}

// What an export cannot do is refused, and the connection goes on.
func TestRefusals(t *testing.T) {
	dev := block.NewMem(1<<20, 512)
	socket := serve(t, Config{Exports: []Export{{Name: "rw", Device: dev}, {Name: "ro", Device: dev, ReadOnly: true}, {Name: "bare", Device: struct{ block.Device }{dev}}}})
	for _, c := range []struct {
		export string
		r      wire.Request
		want   wire.Errno
	}{
		{"rw", wire.Request{Command: wire.CmdRead, Offset: 1<<20 - 1, Length: 2}, wire.EINVAL},
		{"rw", wire.Request{Command: wire.CmdRead, Offset: 1 << 63, Length: 2}, wire.EINVAL},
		{"rw", wire.Request{Command: wire.CmdRead, Length: 0}, wire.EINVAL},
		{"rw", wire.Request{Command: wire.CmdRead, Length: maxPayload + 1}, wire.EINVAL},
		{"rw", wire.Request{Command: wire.CmdWrite, Offset: 1<<20 - 1, Length: 2}, wire.ENOSPC},
		{"rw", wire.Request{Command: wire.CmdWriteZeroes, Offset: 1 << 19, Length: 1 << 31}, wire.ENOSPC},
		{"rw", wire.Request{Command: wire.CmdWriteZeroes, Length: 512, Flags: wire.FlagNoHole | wire.FlagFastZero}, wire.ENOTSUP},
		{"bare", wire.Request{Command: wire.CmdWriteZeroes, Length: 512, Flags: wire.FlagFastZero}, wire.ENOTSUP},
		{"bare", wire.Request{Command: wire.CmdTrim, Length: 512}, wire.EINVAL},
		{"rw", wire.Request{Command: wire.CmdFlush, Length: 1}, wire.EINVAL},
		{"rw", wire.Request{Command: wire.CmdRead, Length: 512, Flags: wire.FlagNoHole}, wire.EINVAL},
		{"rw", wire.Request{Command: 77}, wire.EINVAL},
		{"ro", wire.Request{Command: wire.CmdWrite, Length: 512}, wire.EPERM},
		{"ro", wire.Request{Command: wire.CmdWriteZeroes, Length: 512}, wire.EPERM},
		{"ro", wire.Request{Command: wire.CmdTrim, Length: 512}, wire.EPERM},
	} {
		cl := client(t, socket, c.export)
		data := make([]byte, c.r.Length&0xffff)
		if _, err := cl.do(c.r, data); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v: %v, want %v", c.export, c.r, err, c.want)
		}
		if _, err := cl.ReadAt(make([]byte, 512), 0); err != nil {
			t.Errorf("%s: %+v: the connection is of no more use: %v", c.export, c.r, err)
		}
	}
	if err := client(t, socket, "ro").Flush(); err != nil {
		t.Errorf("flush of a read-only export: %v", err)
	}
}

func TestListAndUnknownExport(t *testing.T) {
	dev := block.NewMem(1<<20, 512)
	socket := serve(t, Config{Exports: []Export{{Name: "vg/a", Description: "one", Device: dev}, {Name: "vg/b", Device: dev, ReadOnly: true}}})
	list, err := List(context.Background(), dial(t, socket), ClientOptions{})
	if err != nil || len(list) != 2 || list[0].Name != "vg/a" || list[0].Description != "one" || list[0].Size != 1<<20 ||
		list[0].Flags&wire.ReadOnly != 0 || list[1].Flags&wire.ReadOnly == 0 {
		t.Errorf("%+v, %v", list, err)
	}
	var refused *ReplyError
	for _, name := range []string{"", "vg/c"} { // with two exports none is the default
		if _, err := NewClient(context.Background(), dial(t, socket), ClientOptions{Export: name}); !errors.As(err, &refused) || refused.Reply != wire.RepErrUnknown {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A client that breaks the protocol loses its connection and nobody else's.
func TestHostileClients(t *testing.T) {
	dev := block.NewMem(1<<20, 512)
	socket := serve(t, Config{Exports: []Export{{Device: dev}}, HandshakeTimeout: 2 * time.Second})
	good := client(t, socket, "")
	flags := []byte{0, 0, 0, 3}
	sel := wire.AppendSelection(nil, wire.Selection{})
	inTransmission := append(bytes.Clone(flags), wire.AppendOption(nil, wire.OptGo, sel)...)
	for name, say := range map[string][]byte{
		"nothing":                 {},
		"unknown flags":           {0xff, 0, 0, 3},
		"HTTP":                    []byte("\x00\x00\x00\x03GET / HTTP/1.1\r\n\r\n"),
		"an option of 4 GiB":      append(bytes.Clone(flags), wire.AppendOption(nil, wire.OptGo, nil)[:12]...),
		"too many options":        append(bytes.Clone(flags), bytes.Repeat(wire.AppendOption(nil, wire.OptList, nil), maxOptions+1)...),
		"unknown export, old way": append(bytes.Clone(flags), wire.AppendOption(nil, wire.OptExportName, []byte("x"))...),
		"bad magic":               append(bytes.Clone(inTransmission), make([]byte, wire.RequestSize)...),
		"a write of 4 GiB":        append(bytes.Clone(inTransmission), wire.AppendRequest(nil, wire.Request{Command: wire.CmdWrite, Length: 1<<32 - 1})...),
	} {
		c := dial(t, socket)
		if strings.Contains(name, "option of") {
			say = append(say, 0xff, 0xff, 0xff, 0xff)
		}
		c.Write(say)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Errorf("%s: the server keeps the connection", name)
		}
	}
	if _, err := good.ReadAt(make([]byte, 512), 0); err != nil {
		t.Errorf("another client suffers: %v", err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// A client that asks and does not listen stops only itself.
func TestClientThatDoesNotListen(t *testing.T) {
	dev := block.NewMem(1<<20, 512)
	socket := serve(t, Config{Exports: []Export{{Device: dev}}})
	deaf := rawConn(t, socket, true)
	deaf.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	req := wire.AppendRequest(nil, wire.Request{Command: wire.CmdRead, Length: 1 << 20})
	for {
		if _, err := deaf.Write(req); err != nil {
			break // the server takes no more
		}
	}
	if _, err := client(t, socket, "").ReadAt(make([]byte, 512), 0); err != nil {
		t.Error(err)
	}
	deaf.Close()
}

// What was acknowledged is flushed before Serve returns, although the client did not ask.
func TestServeFlushesAtTheEnd(t *testing.T) {
	dev := &counting{Device: block.NewMem(1<<20, 512)}
	s, err := NewServer(Config{Exports: []Export{{Device: dev}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	c := client(t, l.Addr().String(), "")
	if _, err := c.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if dev.flushes != 0 {
		t.Error("a write flushes")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || dev.flushes != 1 {
		t.Errorf("%v; %d flushes", err, dev.flushes)
	}
	if _, err := c.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("the connection outlives the server")
	}
}

type counting struct {
	block.Device
	flushes int
}

func (c *counting) Flush() error {
	c.flushes++
	return nil
}

func TestFUA(t *testing.T) {
	dev := &counting{Device: block.NewMem(1<<20, 512)}
	c := client(t, serve(t, Config{Exports: []Export{{Device: dev}}}), "")
	for i, r := range []wire.Request{{Command: wire.CmdWrite, Length: 512}, {Command: wire.CmdWriteZeroes, Length: 512}} {
		r.Flags = wire.FlagFUA
		if _, err := c.do(r, make([]byte, 512)); err != nil || dev.flushes != i+1 {
			t.Errorf("%v: %v, %d flushes", r.Command, err, dev.flushes)
		}
	}
}

// A device's error reaches the client as a number, and the log in words.
func TestDeviceErrors(t *testing.T) {
	c := client(t, serve(t, Config{Exports: []Export{{Device: broken{block.NewMem(1<<20, 512)}}}}), "")
	if _, err := c.ReadAt(make([]byte, 512), 0); !errors.Is(err, wire.EIO) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.WriteAt(make([]byte, 4<<20), 0); !errors.Is(err, block.ErrOutOfRange) {
		t.Errorf("write beyond the end: %v", err)
	}
	if _, err := c.WriteAt(make([]byte, 1<<20), 0); !errors.Is(err, wire.EIO) {
		t.Errorf("write: %v", err)
	}
}

type broken struct{ block.Device }

func (broken) ReadAt([]byte, int64) (int, error)  { return 0, errors.New("disk on fire") }
func (broken) WriteAt([]byte, int64) (int, error) { return 0, errors.New("disk on fire") }

// A request in steady state allocates nothing in the server.
func TestNoAllocationPerRequest(t *testing.T) {
	dev := block.NewMem(1<<20, 512)
	conn := rawConn(t, serve(t, Config{Exports: []Export{{Device: dev}}}), true)
	write := append(wire.AppendRequest(nil, wire.Request{Command: wire.CmdWrite, Length: 4096}), make([]byte, 4096)...)
	read := wire.AppendRequest(nil, wire.Request{Command: wire.CmdRead, Length: 4096})
	b := make([]byte, headroom+4096)
	do := func() {
		conn.Write(write)
		io.ReadFull(conn, b[:wire.SimpleSize])
		conn.Write(read)
		io.ReadFull(conn, b)
	}
	for range 100 {
		do()
	}
	if n := testing.AllocsPerRun(1000, do); n >= 1 {
		t.Errorf("%v allocations for a write and a read", n)
	}
	if binary.BigEndian.Uint32(b) != wire.MagicStructured {
		t.Errorf("no structured reply: %x", b[:wire.ChunkSize])
	}
}

// Whatever a client says, the server neither panics nor hangs, and a well-behaved one is served beside it.
func FuzzServer(f *testing.F) {
	flags := []byte{0, 0, 0, 3}
	gone := append(bytes.Clone(flags), wire.AppendOption(nil, wire.OptGo, wire.AppendSelection(nil, wire.Selection{}))...)
	f.Add(append(bytes.Clone(flags), wire.AppendOption(nil, wire.OptList, nil)...))
	f.Add(append(append(bytes.Clone(flags), wire.AppendOption(nil, wire.OptStructuredReply, nil)...),
		wire.AppendOption(nil, wire.OptSetMetaContext, wire.AppendContextQuery(nil, wire.ContextQuery{Queries: []string{wire.BaseAllocation}}))...))
	for cmd := wire.CmdRead; cmd <= wire.CmdBlockStatus; cmd++ {
		f.Add(append(append(bytes.Clone(gone), wire.AppendRequest(nil, wire.Request{Command: cmd, Length: 4096})...), make([]byte, 4096)...))
	}
	f.Fuzz(func(t *testing.T, say []byte) {
		s, err := NewServer(Config{Exports: []Export{{Device: block.NewMem(64<<10, 512)}}, HandshakeTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			s.ServeConn(context.Background(), there)
			close(done)
		}()
		drained := make(chan struct{})
		go func() {
			io.Copy(io.Discard, here)
			close(drained)
		}()
		here.Write(say)
		here.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the server hangs")
		}
		<-drained
	})
}
