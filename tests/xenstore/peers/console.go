package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"morgana/tests/xenstore/fakehost"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/console"
	"morgana/xenstore"
)

// Consoled is Xen's own console daemon on a host, in the foreground, with further arguments; it is not started.
func (p *Peers) Consoled(h *Host, args ...string) *exec.Cmd {
	c := exec.Command(p.Program("xenconsoled"), append([]string{"-i", "--log-dir=" + h.ConsoleLogs()}, args...)...)
	c.Env = append(p.env(), "FAKEXEN="+h.Dir, "FAKEXEN_CONSOLE=1", "LD_PRELOAD="+filepath.Join(p.root, "shim.so"), "XENSTORED_PATH="+h.Socket())
	return c
}

// ConsoleLogs is where console daemons keep their logs.
func (h *Host) ConsoleLogs() string { return filepath.Join(h.Dir, "log") }

// MakeGuest makes a domain with a console, as libxl does: its nodes, and the introduction.
func (h *Host) MakeGuest(ctx context.Context, store *xenstore.Client, d xen.DomID, name string) error {
	if err := h.MakeDomain(d); err != nil {
		return err
	}
	if err := os.WriteFile(h.path(d, "console"), make([]byte, xen.PageSize), 0o644); err != nil {
		return err
	}
	home := fmt.Sprintf("/local/domain/%d", d)
	err := store.Transact(ctx, func(tx *xenstore.Tx) error {
		for key, value := range map[string]string{
			"/name": name, "/vm": fmt.Sprintf("/vm/%d-%d", d, time.Now().UnixNano()), "/domid": fmt.Sprint(d),
			"/console/ring-ref": "1048575", "/console/port": "3", "/console/limit": "1048576", "/console/type": "xenconsoled",
			"/console/output": "pty", "/console/tty": "",
		} {
			if err := tx.Write(ctx, home+key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return store.Introduce(ctx, d, 1, 2)
}

// KillGuest destroys a domain, and has xenstored notice.
func (h *Host) KillGuest(d xen.DomID) error {
	if err := h.Destroy(d); err != nil {
		return err
	}
	return h.Exception()
}

// XenSays appends to Xen's own log.
func (h *Host) XenSays(text string) error {
	f, err := os.OpenFile(filepath.Join(h.Dir, "xen.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return h.send("xen.log.sock", fakehost.PortException)
}

// Console is a guest's end of its console. Write and Read are for one goroutine each.
type Console struct {
	Page   []byte
	out    *ring.Producer
	in     *ring.Consumer
	sock   *net.UnixConn
	notify func() error
	wake   chan struct{} // closed and made anew at each event
	mu     sync.Mutex
	once   sync.Once
}

// Console attaches to a console as the guest's kernel does. One at a time.
func (h *Host) Console(d xen.DomID) (*Console, error) {
	f, err := os.OpenFile(h.path(d, "console"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := &Console{wake: make(chan struct{})}
	if c.Page, err = syscall.Mmap(int(f.Fd()), 0, xen.PageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED); err != nil {
		return nil, err
	}
	var words [4]*atomic.Uint32
	for i, off := range []int{console.OutProd, console.OutCons, console.InProd, console.InCons} {
		if words[i], err = ring.Word(c.Page, off); err != nil {
			return nil, err
		}
	}
	if c.out, err = ring.NewProducer(c.Page[console.Out:][:console.OutSize], words[0], words[1]); err != nil {
		return nil, err
	}
	if c.in, err = ring.NewConsumer(c.Page[console.In:][:console.InSize], words[2], words[3]); err != nil {
		return nil, err
	}
	addr := &net.UnixAddr{Name: h.path(d, "console.sock"), Net: "unixgram"}
	_ = os.Remove(addr.Name)
	if c.sock, err = net.ListenUnixgram("unixgram", addr); err != nil {
		return nil, err
	}
	if c.notify, err = fakehost.Sender(c.sock, h.path(d, "console.daemon"), fakehost.PortDomain+xen.Port(d)); err != nil {
		c.sock.Close()
		return nil, err
	}
	go c.listen()
	return c, nil
}

// listen wakes who waits at each event, and now and then without one: a daemon may have been restarted.
func (c *Console) listen() {
	var b [4]byte
	for {
		_ = c.sock.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := c.sock.Read(b[:])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		c.mu.Lock()
		close(c.wake)
		c.wake = make(chan struct{})
		c.mu.Unlock()
	}
}

func (c *Console) event() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wake
}

// Notify sends the daemon an event. As with Xen, it is lost if nobody is there.
func (c *Console) Notify() { _ = c.notify() }

// Write writes all of p, and waits for room as long as ctx lasts.
func (c *Console) Write(ctx context.Context, p []byte) (n int, err error) {
	for n < len(p) {
		event := c.event()
		m, err := c.out.Write(p[n:])
		if err != nil {
			return n, err
		}
		if n += m; m > 0 {
			c.Notify()
			continue
		}
		select {
		case <-event:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
	return n, nil
}

// Read reads what was typed, and waits for it.
func (c *Console) Read(ctx context.Context, p []byte) (int, error) {
	for {
		event := c.event()
		n, err := c.in.Read(p)
		if n > 0 {
			c.Notify()
		}
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-event:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Expect reads until what was typed ends with a text.
func (c *Console) Expect(ctx context.Context, text string) error {
	var got []byte
	buf := make([]byte, console.InSize)
	for !bytes.HasSuffix(got, []byte(text)) {
		n, err := c.Read(ctx, buf)
		if err != nil {
			return fmt.Errorf("%w; typed was %q, want %q at the end", err, got, text)
		}
		got = append(got, buf[:n]...)
	}
	return nil
}

// Drained waits until the daemon has taken everything.
func (c *Console) Drained(ctx context.Context) error {
	for {
		event := c.event()
		n, err := c.out.Pending()
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-event:
		case <-ctx.Done():
			return fmt.Errorf("%d bytes wait in the ring: %w", n, context.Cause(ctx))
		}
	}
}

// Close detaches. The page stays mapped: whoever still looks at it must not fault.
func (c *Console) Close() { c.once.Do(func() { c.sock.Close() }) }
