package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"morgana/xen"
)

// screen is what whoever attaches is shown again.
const (
	screenLines = 50
	screenBytes = 16 << 10
)

// pty is a terminal at a console. Its slave is not kept open: so the kernel says when nobody has it.
type pty struct {
	dom     xen.DomID
	source  source
	master  *os.File
	name    string
	from    *ptys
	watch   int      // of inotify; -1: nobody tells, and slave is open
	slave   *os.File // or nil
	changed chan struct{}
	opened  chan struct{} // somebody may have opened it since its EIO was read; capacity 1
	left    atomic.Bool   // everybody who had it open has closed it since this was cleared

	// As inotify tells, guarded by from.mu. Events that are alike and follow each other are told once, so these are
	// mended where poll tells that nobody has the terminal open.
	opens int // how many have it open
	own   int // how many closings to come are our own
}

// newPTY makes a terminal at the console of a guest; the console becomes the terminal's.
func (v *ptys) newPTY(d xen.DomID, c source) (*pty, error) {
	master, name, err := v.open(d)
	if err != nil {
		c.close()
		return nil, err
	}
	p := &pty{
		dom: d, source: c, master: master, name: name, from: v, watch: -1,
		changed: make(chan struct{}, 1), opened: make(chan struct{}, 1),
	}
	if err := p.setUp(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// open opens a new pty that xenstore does not name as another guest's: after the end of a daemon its names stay until the
// next one has written its own, and what is typed at one guest must not get to another.
func (v *ptys) open(d xen.DomID) (*os.File, string, error) {
	for {
		fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, "", &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
		}
		n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		if err != nil {
			unix.Close(fd)
			return nil, "", os.NewSyscallError("find pty", err)
		}
		master, name := os.NewFile(uintptr(fd), "/dev/ptmx"), "/dev/pts/"+strconv.Itoa(n)
		if !v.isOther(d, name) {
			return master, name, nil
		}
		defer master.Close() // or the next one would be the same
	}
}

func (v *ptys) isOther(d xen.DomID, name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for other, n := range v.names {
		if n == name && other != d {
			return true
		}
	}
	return false
}

// named says what terminal xenstore names as a guest's.
func (v *ptys) named(d xen.DomID, name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.names[d] = name
}

func (p *pty) setUp() error {
	conn, err := p.master.SyscallConn()
	if err != nil {
		return err
	}
	var unlocked error
	err = conn.Control(func(fd uintptr) { unlocked = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0) })
	if err = errors.Join(err, unlocked); err != nil {
		return os.NewSyscallError("unlock pty", err)
	}
	slave, err := p.openSlave()
	if err != nil {
		return err
	}
	// Raw, as cfmakeraw has it.
	t, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err == nil {
		t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		err = unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, t)
	}
	if err != nil {
		slave.Close()
		return os.NewSyscallError("set up pty", err)
	}
	if err := p.from.add(p); err != nil {
		p.slave = slave
		p.poke()
		return nil
	}
	return slave.Close()
}

// openSlave opens it for reading, so that inotify tells its closing from those of others, who write.
func (p *pty) openSlave() (*os.File, error) {
	fd, err := unix.Open(p.name, unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p.name, Err: err}
	}
	return os.NewFile(uintptr(fd), p.name), nil
}

func (p *pty) poke() {
	for _, c := range []chan struct{}{p.changed, p.opened} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Name implements xenconsoled.Terminal.
func (p *pty) Name() string { return p.name }

// open reports whether somebody has the terminal open.
func (p *pty) open() (is bool) {
	conn, err := p.master.SyscallConn()
	if err != nil {
		return false
	}
	_ = conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(fds, 0)
		is = err == nil && fds[0].Revents&unix.POLLHUP == 0
	})
	return is
}

// past ends what waits for a file.
var past = time.Unix(1, 0)

// Run implements xenconsoled.Terminal.
func (p *pty) Run(ctx context.Context) {
	defer p.close()
	var keys sync.WaitGroup
	defer keys.Wait()
	keys.Go(func() { p.typed(ctx) })
	stop := context.AfterFunc(ctx, func() { _ = p.master.SetReadDeadline(past) })
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		if p.open() {
			p.attached(ctx)
			continue
		}
		p.from.mu.Lock()
		p.opens = 0
		p.from.mu.Unlock()
	}
}

// attached shows the console to whoever has the terminal open until nobody has.
func (p *pty) attached(ctx context.Context) {
	p.left.Store(false)
	if p.slave == nil {
		p.source.begin()
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	var shown sync.WaitGroup
	shown.Go(func() { p.show(within) }) // inotify tells when it ends: somebody else may have opened it already
	for within.Err() == nil {
		select {
		case <-within.Done():
		case <-p.changed:
			if p.left.Load() || !p.open() {
				cancel()
			}
		}
	}
	_ = p.master.SetWriteDeadline(past)
	shown.Wait()
	_ = p.master.SetWriteDeadline(time.Time{})
	p.source.end()
	if ctx.Err() == nil {
		p.flush()
		p.poke() // somebody may be here already
	}
}

// show writes what the guest says to the terminal.
func (p *pty) show(ctx context.Context) {
	buf := make([]byte, 4096)
	for {
		n, err := p.source.next(ctx, buf)
		if err != nil {
			return
		}
		if _, err := p.master.Write(buf[:n]); err != nil {
			return
		}
		p.source.given()
	}
}

// typed passes on what is typed at the terminal, whoever has it open or had: a pty has what was written before its last
// closing, and then fails with EIO until it is opened again (pty(7), n_tty_read in Linux). Where the guest does not take it,
// it waits, as on Xen's daemon.
func (p *pty) typed(ctx context.Context) {
	buf := make([]byte, 1024)
	for {
		n, err := p.master.Read(buf)
		if n > 0 && p.source.write(ctx, buf[:n]) != nil {
			return // the guest is gone
		}
		if err == nil {
			continue
		}
		select {
		case <-p.opened:
		case <-ctx.Done():
			return
		}
	}
}

// flush drops what was written and not read by anybody: who comes next is shown the last screen.
func (p *pty) flush() {
	p.from.mu.Lock()
	p.own++
	p.from.mu.Unlock()
	slave, err := p.openSlave()
	if err != nil {
		p.from.mu.Lock()
		p.own--
		p.from.mu.Unlock()
		return
	}
	_ = unix.IoctlSetInt(int(slave.Fd()), unix.TCFLSH, unix.TCIFLUSH)
	slave.Close()
}

func (p *pty) close() {
	p.from.remove(p)
	p.source.close()
	p.master.Close()
	if p.slave != nil {
		p.slave.Close()
	}
}

// ptys tells terminals when somebody opens or closes them.
type ptys struct {
	notify *os.File

	mu      sync.Mutex
	watches map[int32]*pty
	names   map[xen.DomID]string // what xenstore names, of guests that have had no terminal here that ended
}

func newPTYs() (*ptys, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	return &ptys{notify: os.NewFile(uintptr(fd), "inotify"), watches: make(map[int32]*pty), names: make(map[xen.DomID]string)}, nil
}

func (v *ptys) add(p *pty) (err error) {
	conn, cerr := v.notify.SyscallConn()
	if cerr != nil {
		return cerr
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	cerr = conn.Control(func(fd uintptr) {
		p.watch, err = unix.InotifyAddWatch(int(fd), p.name, unix.IN_OPEN|unix.IN_CLOSE)
	})
	if err = errors.Join(err, cerr); err != nil {
		p.watch = -1
		return fmt.Errorf("watch %s: %w", p.name, err)
	}
	v.watches[int32(p.watch)] = p
	return nil
}

func (v *ptys) remove(p *pty) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.names, p.dom)
	if p.watch < 0 {
		return
	}
	if v.watches[int32(p.watch)] == p {
		delete(v.watches, int32(p.watch))
	}
	if conn, err := v.notify.SyscallConn(); err == nil {
		// It may be gone with the pty.
		_ = conn.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(p.watch)) })
	}
}

// run reads events until Close.
func (v *ptys) run() error {
	buf := make([]byte, 64*unix.SizeofInotifyEvent)
	for {
		n, err := v.notify.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed), errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		v.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			watch := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if p := v.watches[watch]; p != nil {
				p.toldLocked(mask)
				p.poke()
			}
			if mask&unix.IN_Q_OVERFLOW != 0 {
				for _, p := range v.watches {
					p.poke()
				}
			}
			b = b[min(size, len(b)):]
		}
		v.mu.Unlock()
	}
}

// toldLocked counts who has the terminal open.
func (p *pty) toldLocked(mask uint32) {
	if mask&unix.IN_OPEN != 0 {
		p.opens++
	}
	if mask&unix.IN_CLOSE == 0 {
		return
	}
	p.opens--
	switch {
	case p.own > 0 && mask&unix.IN_CLOSE_NOWRITE != 0:
		p.own--
	case p.opens <= 0:
		p.left.Store(true)
	}
}

func (v *ptys) Close() error { return v.notify.Close() }
