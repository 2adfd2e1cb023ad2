package devxen

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-multierror"

	"morgana/xen"
)

// Where the devices are.
const (
	EventDevice = "/dev/xen/evtchn"
	MapDevice   = "/dev/xen/gntdev"
	ShareDevice = "/dev/xen/gntalloc"
	StoreDevice = "/dev/xen/xenbus"
)

// modules are what Linux needs for a device that is missing.
var modules = map[string]string{EventDevice: "xen-evtchn", MapDevice: "xen-gntdev", ShareDevice: "xen-gntalloc"}

// Domain is this domain through its devices. It implements xen.Domain. Safe for concurrent use.
type Domain struct {
	id     atomic.Uint32
	events *events
	maps   *device // gntdev, opened at its first use
	shares *device // gntalloc, opened at its first use

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]struct{} // grants and mappings
}

var _ xen.Domain = (*Domain)(nil)

// Open opens the event device and learns the domain's number. The other devices are opened when they are first used,
// so a program that needs none of them runs without.
func Open() (*Domain, error) {
	f, err := openDevice(EventDevice)
	if err != nil {
		return nil, err
	}
	port, err := newPortFile(f)
	if err != nil {
		f.Close()
		return nil, opError("open", EventDevice, err)
	}
	d := &Domain{
		maps:   &device{path: MapDevice},
		shares: &device{path: ShareDevice},
		open:   make(map[io.Closer]struct{}),
	}
	if err := d.Reload(); err != nil {
		f.Close()
		return nil, err
	}
	d.events = newEvents(port)
	return d, nil
}

// ID is our own number, as Open or the last Reload found it.
func (d *Domain) ID() xen.DomID { return xen.DomID(d.id.Load()) }

// Reload asks for our number again: to be called after a suspend, when it may have changed.
func (d *Domain) Reload() error {
	id, err := ownID()
	if err != nil {
		return opError("find the number of", "this domain", err)
	}
	d.id.Store(uint32(id))
	return nil
}

// Listen implements xen.Events.
func (d *Domain) Listen(peer xen.DomID) (xen.Event, error) {
	e, err := d.events.bind(evtchnBindUnbound, uint32(peer))
	if err != nil {
		return nil, opError("listen", domainName(peer), err)
	}
	return e, nil
}

// Connect implements xen.Events.
func (d *Domain) Connect(peer xen.DomID, port xen.Port) (xen.Event, error) {
	e, err := d.events.bind(evtchnBindInterdomain, uint32(peer), uint32(port))
	if err != nil {
		return nil, opError("connect", fmt.Sprintf("domain %d port %d", peer, port), err)
	}
	return e, nil
}

// BindVIRQ implements xen.Events.
func (d *Domain) BindVIRQ(virq xen.VIRQ) (xen.Event, error) {
	e, err := d.events.bind(evtchnBindVIRQ, uint32(virq))
	if errors.Is(err, syscall.EEXIST) {
		err = fmt.Errorf("another program or the kernel has it: %w", err)
	}
	if err != nil {
		return nil, opError("bind", fmt.Sprintf("virtual interrupt %d", virq), err)
	}
	return e, nil
}

// Adopt takes over a channel that the kernel kept over a restart in place (unikernel.KeepEvent): it has that port
// already. A port that was not kept is an error at its first Notify.
func (d *Domain) Adopt(port xen.Port) (xen.Event, error) {
	e, err := d.events.adopt(port)
	if err != nil {
		return nil, opError("adopt", fmt.Sprintf("port %d", port), err)
	}
	return e, nil
}

// Close implements xen.Domain. It waits for the goroutine that waits for events.
func (d *Domain) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	var open []io.Closer
	for c := range d.open {
		open = append(open, c)
	}
	d.mu.Unlock()
	var result *multierror.Error
	for _, c := range open {
		if err := c.Close(); err != nil && !errors.Is(err, xen.ErrInUse) {
			result = multierror.Append(result, err)
		}
	}
	for _, c := range []io.Closer{d.events, d.maps, d.shares} {
		if err := c.Close(); err != nil {
			result = multierror.Append(result, err)
		}
	}
	return result.ErrorOrNil()
}

// own enters something that Close closes; false after Close.
func (d *Domain) own(c io.Closer) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.open[c] = struct{}{}
	return true
}

func (d *Domain) disown(c io.Closer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, c)
}

// device is one of the grant devices. Its descriptor stays what it is until Close, for which every use waits.
type device struct {
	path string

	mu     sync.RWMutex // held for reading while the descriptor is in use
	file   *os.File
	fd     int
	closed bool
}

// use calls f with the descriptor, which it opens at the first time.
func (v *device) use(f func(fd int) error) error {
	v.mu.RLock()
	for v.file == nil && !v.closed {
		v.mu.RUnlock()
		if err := v.openOnce(); err != nil {
			return err
		}
		v.mu.RLock()
	}
	defer v.mu.RUnlock()
	if v.closed {
		return xen.ErrClosed
	}
	return f(v.fd)
}

func (v *device) openOnce() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.file != nil || v.closed {
		return nil
	}
	file, err := openDevice(v.path)
	if err != nil {
		return err
	}
	if v.fd, err = descriptor(file); err != nil {
		file.Close()
		return err
	}
	v.file = file
	return nil
}

func (v *device) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.file == nil {
		return nil
	}
	file := v.file
	v.file = nil
	return file.Close()
}

// openDevice opens a device without blocking, so that reads wait in Go's poller.
func openDevice(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy := "is this a Xen domain?"
		if m := modules[path]; m != "" {
			remedy += " On Linux, modprobe " + m + " makes it"
		}
		return nil, opError("open", path, fmt.Errorf("%w; %s", fs.ErrNotExist, remedy))
	case errors.Is(err, fs.ErrPermission):
		return nil, opError("open", path, fmt.Errorf("%w; it wants root", xen.ErrPermission))
	case err != nil:
		return nil, opError("open", path, err)
	}
	return f, nil
}

// descriptor is f's number without what f.Fd does: that makes it blocking.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Control(func(n uintptr) { fd = int(n) })
	return fd, err
}
