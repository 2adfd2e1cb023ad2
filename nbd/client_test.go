package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"morgana/block"
	"morgana/nbd/wire"
)

// recorded is what a server says to a client that reads 4 KiB, flushes and asks for holes.
func recorded(t testing.TB) []byte {
	t.Helper()
	s, err := NewServer(Config{Exports: []Export{{Name: "x", Device: block.NewMem(1<<20, 512)}}})
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	go s.ServeConn(context.Background(), there)
	var said bytes.Buffer
	tee := struct {
		net.Conn
		io.Reader
	}{here, io.TeeReader(here, &said)}
	c, err := NewClient(context.Background(), readFrom{tee.Conn, tee.Reader}, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	use(c)
	c.Close()
	return said.Bytes()
}

type readFrom struct {
	net.Conn
	r io.Reader
}

func (r readFrom) Read(b []byte) (int, error) { return r.r.Read(b) }

// use sends a request of each kind, one after the other.
func use(c *Client) {
	b := make([]byte, 4096)
	n := min(int64(len(b)), c.Size())
	c.ReadAt(b[:n], 0)
	c.WriteAt(b[:n], 0)
	c.Flush()
	c.WriteZeroes(0, n)
	c.Discard(0, n)
	c.Hole(0, n)
}

// Whatever a server says, the client neither panics nor hangs once the server is gone.
func FuzzClient(f *testing.F) {
	said := recorded(f)
	f.Add(said)
	for _, cut := range []int{10, wire.HelloSize, 100, len(said) - 30} {
		f.Add(said[:cut])
	}
	damaged := bytes.Clone(said)
	binary.BigEndian.PutUint32(damaged[len(damaged)-20:], 1<<31)
	f.Add(damaged)
	f.Fuzz(func(t *testing.T, said []byte) {
		here, there := net.Pipe()
		go io.Copy(io.Discard, there)
		go func() {
			there.Write(said)
			there.Close()
		}()
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := NewClient(context.Background(), here, ClientOptions{})
			if err != nil {
				return
			}
			use(c)
			c.Close()
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the client hangs")
		}
	})
}

// A client whose server goes away ends what is under way, and says so of what comes after.
func TestServerGoesAway(t *testing.T) {
	slow := &slowReads{Device: block.NewMem(1<<20, 512), began: make(chan struct{}), end: make(chan struct{})}
	s, err := NewServer(Config{Exports: []Export{{Device: slow}}})
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	ended := make(chan struct{})
	go func() {
		s.ServeConn(context.Background(), there)
		close(ended)
	}()
	c, err := NewClient(context.Background(), here, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := c.ReadAt(make([]byte, 512), 0)
		failed <- err
	}()
	<-slow.began
	there.Close()
	if err := <-failed; err == nil {
		t.Error("a read whose server is gone succeeds")
	}
	if err := c.Flush(); err == nil {
		t.Error("a flush after that succeeds")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.ReadAt(make([]byte, 512), 0); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after Close: %v", err)
	}
	close(slow.end)
	<-ended
}

type slowReads struct {
	block.Device
	began, end chan struct{}
}

func (s *slowReads) ReadAt([]byte, int64) (int, error) {
	close(s.began)
	<-s.end
	return 0, errors.New("too late")
}
