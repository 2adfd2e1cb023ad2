package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"

	"morgana/xenstore/server"
)

// client is a connection of the socket.
type client struct {
	fd       int
	conn     *server.Conn
	rest     []byte // received, and not taken yet: it waits for a CONTROL command
	writable bool   // epoll tells when it can be written
}

func (d *Daemon) accept() {
	for range 64 {
		fd, _, err := unix.Accept4(d.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != nil {
			if err != unix.EAGAIN && err != unix.ECONNABORTED && err != unix.EINTR {
				d.cfg.Words(fmt.Sprintf("accept: %v", err))
			}
			return
		}
		if err := d.adopt(fd, d.core.Connect()); err != nil {
			d.cfg.Words(fmt.Sprintf("accept: %v", err))
			unix.Close(fd)
		}
	}
}

// adopt serves a connection on a descriptor.
func (d *Daemon) adopt(fd int, conn *server.Conn) error {
	c := &client{fd: fd, conn: conn}
	conn.Data = c
	if err := d.add(fd, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		d.core.Close(conn)
		return err
	}
	d.clients[fd] = c
	return nil
}

// drop ends a connection.
func (d *Daemon) drop(c *client) {
	if d.clients[c.fd] != c {
		return
	}
	delete(d.clients, c.fd)
	unix.Close(c.fd)
	d.core.Close(c.conn)
	d.endUpdateOf(c.conn)
}

// readClient reads once. Epoll tells of each arrival once (edge-triggered, which spares it to look again): what may be
// left, in the socket or as its end, is read in the next round, when others have had their turn.
func (d *Daemon) readClient(c *client, ended bool) {
	if len(c.rest) > 0 { // it has to wait; interest has epoll tell again
		return
	}
	n, e := read(c.fd, d.buf[:])
	switch {
	case e == unix.EAGAIN:
		return
	case e == unix.EINTR:
	case e != 0 || n == 0:
		d.drop(c)
		return
	default:
		d.take(c, d.buf[:n])
	}
	if e != 0 || n == len(d.buf) || ended {
		d.unread = append(d.unread, c)
	}
}

// readMore reads from the clients that may have more.
func (d *Daemon) readMore() {
	again := d.unread
	d.unread = d.spareClients[:0]
	for i, c := range again {
		again[i] = nil
		if d.clients[c.fd] == c {
			d.readClient(c, true)
		}
	}
	d.spareClients = again[:0]
}

// take lets the core handle what was received.
func (d *Daemon) take(c *client, b []byte) {
	n := d.core.Input(c.conn, b)
	if c.conn.Closed() {
		d.drop(c)
		return
	}
	if n < len(b) {
		c.rest = append([]byte(nil), b[n:]...)
		d.interest(c)
	}
}

// resume handles what had to wait.
func (d *Daemon) resume(c *client) {
	if b := c.rest; len(b) > 0 && d.core.CanRead(c.conn) {
		c.rest = nil
		d.take(c, b)
		if d.clients[c.fd] == c {
			d.interest(c)
		}
	}
}

// interest tells epoll what there is to wait for.
func (d *Daemon) interest(c *client) {
	ev := unix.EpollEvent{Fd: int32(c.fd), Events: unix.EPOLLRDHUP | unix.EPOLLET}
	if len(c.rest) == 0 {
		ev.Events |= unix.EPOLLIN
	}
	if c.writable {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(d.epoll, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		d.drop(c)
	}
}

func (d *Daemon) flushClient(c *client) {
	for {
		b := c.conn.Output()
		if len(b) == 0 {
			if c.writable {
				c.writable = false
				d.interest(c)
			}
			return
		}
		n, e := write(c.fd, b)
		switch {
		case e == unix.EAGAIN:
			if !c.writable {
				c.writable = true
				d.interest(c)
			}
			return
		case e == unix.EINTR:
		case e != 0:
			d.drop(c)
			return
		default:
			d.core.Sent(c.conn, n)
		}
	}
}
