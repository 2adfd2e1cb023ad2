package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"morgana/xen/wire/xs"
)

// client is a connection that blocks. What it does while it is measured is two system calls a request, and no allocation:
// the generator must not be what is measured.
type client struct {
	fd   int
	buf  [16 << 10]byte // received
	have int            // bytes of it
	used int            // of those, by replies that were returned
	sent time.Time
	todo [][][]byte // operations, each of one or more requests
	op   int
	step int // within the operation; -1 when it is over
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

// The thread is locked and nothing else runs in the generator while it measures: the scheduler need not be told.

func (c *client) send(msg []byte) error {
	n, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&msg[0])), uintptr(len(msg)))
	if e != 0 || int(n) != len(msg) {
		return fmt.Errorf("write of %d bytes: %d, %w", len(msg), n, e)
	}
	return nil
}

// receive waits for a reply, which is valid until the next call. Events before it are left out.
func (c *client) receive() (op xs.Op, payload []byte, err error) {
	for {
		if b := c.buf[c.used:c.have]; len(b) >= xs.HeaderSize {
			size := xs.HeaderSize + int(binary.LittleEndian.Uint32(b[12:]))
			if len(b) >= size {
				c.used += size
				if op = xs.Op(binary.LittleEndian.Uint32(b)); op != xs.WatchEvent {
					return op, b[xs.HeaderSize:size], nil
				}
				continue
			}
		}
		c.have = copy(c.buf[:], c.buf[c.used:c.have])
		c.used = 0
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&c.buf[c.have])), uintptr(len(c.buf)-c.have))
		switch {
		case e == unix.EINTR:
		case e != 0 || n == 0:
			return 0, nil, fmt.Errorf("the daemon hung up: %w", e)
		default:
			c.have += int(n)
		}
	}
}

// ask is a request that must succeed.
func (c *client) ask(op xs.Op, tx uint32, payload string) error {
	msg := message(op, tx, payload)
	if err := c.send(msg); err != nil {
		return err
	}
	got, b, err := c.receive()
	if err == nil && got == xs.ErrorReply {
		err = fmt.Errorf("reply %q to %v %q", b, op, payload[:min(len(payload), 40)])
	}
	return err
}

func message(op xs.Op, tx uint32, payload string) []byte {
	return xs.AppendMessage(nil, xs.Header{Op: op, Tx: tx}, []byte(payload))
}

// next sends the next request, the first one of an operation when the one before is over.
func (c *client) next() error {
	steps := c.todo[c.op%len(c.todo)]
	msg := steps[c.step]
	if c.step > 0 && len(steps) > 2 { // within a transaction
		binary.LittleEndian.PutUint32(msg[8:], c.tx)
	}
	return c.send(msg)
}

// advance takes a reply, and reports whether the operation is over.
func (c *client) advance(op xs.Op, reply []byte) (over bool, err error) {
	if op == xs.ErrorReply && string(reply) != "EAGAIN\x00" {
		return false, fmt.Errorf("reply %q", reply)
	}
	steps := c.todo[c.op%len(c.todo)]
	if c.step == 0 && len(steps) > 2 {
		n, err := strconv.ParseUint(string(reply[:len(reply)-1]), 10, 32)
		if err != nil {
			return false, err
		}
		c.tx = uint32(n)
	}
	if c.step++; c.step < len(steps) {
		return false, nil
	}
	c.step = 0
	c.op++
	return true, nil
}

// times are latencies.
type times []time.Duration

func (t times) at(p float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	return t[min(int(p*float64(len(t))), len(t)-1)]
}

func (t times) max() time.Duration { return t.at(1) }

func (t times) sort() times {
	slices.Sort(t)
	return t
}

// cpuTime is how long a process has run, all its threads together (man 3 clock_getcpuclockid: the clock's number holds that
// of the process).
func cpuTime(pid int) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
