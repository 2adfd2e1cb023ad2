package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
	"time"

	"morgana/xen/wire/xs"
)

// client is a connection that blocks.
type client struct {
	fd   int
	buf  []byte // received
	sent time.Time
	step int // within an operation of several requests
	n    int // of the operation
	tx   uint32
}

func connect(socket string) (*client, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return &client{fd: fd}, nil
}

func (c *client) close() { syscall.Close(c.fd) }

func (c *client) send(msg []byte) error {
	_, err := syscall.Write(c.fd, msg)
	return err
}

// receive waits for a reply; events before it are counted.
func (c *client) receive() (h xs.Header, payload []byte, events int, err error) {
	for {
		if len(c.buf) >= xs.HeaderSize {
			size := xs.HeaderSize + int(binary.LittleEndian.Uint32(c.buf[12:]))
			if len(c.buf) >= size {
				h, err = xs.ParseHeader(c.buf)
				payload = c.buf[xs.HeaderSize:size]
				c.buf = c.buf[size:]
				if h.Op == xs.WatchEvent {
					events++
					continue
				}
				return h, payload, events, err
			}
		}
		if cap(c.buf)-len(c.buf) < 8192 {
			c.buf = append(make([]byte, 0, 1<<16), c.buf...)
		}
		n, err := syscall.Read(c.fd, c.buf[len(c.buf):cap(c.buf)])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return h, nil, events, fmt.Errorf("the daemon hung up: %v", err)
		}
		c.buf = c.buf[:len(c.buf)+n]
	}
}

func (c *client) ask(msg []byte) ([]byte, error) {
	if err := c.send(msg); err != nil {
		return nil, err
	}
	h, b, _, err := c.receive()
	if err == nil && h.Op == xs.ErrorReply {
		err = fmt.Errorf("reply %q to % x", b, msg[:min(len(msg), 40)])
	}
	return b, err
}

func message(op xs.Op, tx uint32, payload string) []byte {
	return xs.AppendMessage(nil, xs.Header{Op: op, Tx: tx}, []byte(payload))
}

// times are latencies.
type times []time.Duration

func (t times) at(p float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	slices.Sort(t)
	return t[min(int(p*float64(len(t))), len(t)-1)]
}

func (t times) max() time.Duration {
	if len(t) == 0 {
		return 0
	}
	return slices.Max(t)
}
