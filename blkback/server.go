package blkback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"morgana/block"
	"morgana/xen/wire/blkif"
	"morgana/xen/xenbus"
	"morgana/xenstore"
)

// Config is what a Server works with.
type Config struct {
	Store  *xenstore.Client
	Domain Domain
	// Open finds the disk for an attachment, by its Target for one. An error is told to the tool stack.
	Open func(ctx context.Context, a *Attachment) (Disk, error)
	// Log is told what happens to disks; nil: nobody is.
	Log *slog.Logger
	Options
}

// Disk is a device and how it is offered.
type Disk struct {
	Device block.Device
	// ReadOnly refuses writes, whatever the tool stack's mode says.
	ReadOnly bool
	// CDROM shows the disk as one.
	CDROM bool
	// SecureDiscard offers discards that overwrite what they forget. They take as long as writing it.
	SecureDiscard bool
	// DiscardGranularity is the unit of discards in bytes; 0: a sector.
	DiscardGranularity int
	// PhysicalSectorSize is in bytes, a multiple of the device's sector size; 0: the same.
	PhysicalSectorSize int
	// Close, if not nil, is called when the disk is detached and no call of the device is under way.
	Close func()
}

// Server serves the block devices ("vbd") of which this domain is the backend.
type Server struct {
	conf Config

	mu       sync.Mutex
	attached map[*Attachment]struct{}
}

// New checks the configuration and starts nothing.
func New(c Config) (*Server, error) {
	if c.Store == nil || c.Domain == nil || c.Open == nil {
		return nil, errors.New("blkback: Store, Domain and Open are needed")
	}
	if err := c.fill(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{conf: c, attached: make(map[*Attachment]struct{})}, nil
}

// lookEvery is how often rings look around without being notified.
const lookEvery = 10 * time.Second

// Serve serves until ctx ends or the store is gone, and returns why. All disks are closed then.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				for _, a := range s.Attached() {
					a.kick()
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return xenbus.Backends(ctx, s.conf.Store, "vbd", s.open)
}

// Attached is the disks that are attached now, in no order.
func (s *Server) Attached() []*Attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Attachment, 0, len(s.attached))
	for a := range s.attached {
		all = append(all, a)
	}
	return all
}

func (s *Server) forget(a *Attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attached, a)
}

// open makes an attachment of what the tool stack wrote.
func (s *Server) open(ctx context.Context, d *xenbus.Device) (xenbus.Backend, error) {
	own := func(name string) string {
		v, _ := d.Own(name)
		return v
	}
	a := &Attachment{
		Frontend: d.Frontend, Number: d.Number, Path: d.Path, Target: own("params"),
		ReadOnly: !strings.HasPrefix(own("mode"), "w"),
		server:   s, conf: &s.conf, device: d,
		log: s.conf.Log.With("frontend", d.Frontend, "disk", d.Number),
	}
	x, err := s.conf.Open(ctx, a)
	if err != nil {
		return nil, err
	}
	if a.disk, err = newDisk(x.Device, x.ReadOnly || a.ReadOnly, x.SecureDiscard); err != nil {
		if x.Close != nil {
			x.Close()
		}
		return nil, fmt.Errorf("%s: %w", a.Target, err)
	}
	a.release, a.physical = x.Close, x.PhysicalSectorSize
	if a.disk.readOnly {
		a.info |= blkif.InfoReadOnly
	}
	if x.CDROM || own("device-type") == "cdrom" {
		a.info |= blkif.InfoCDROM
	}
	if own("removable") == "1" {
		a.info |= blkif.InfoRemovable
	}
	o := &s.conf.Options
	discard := a.disk.discards() && own("discard-enable") != "0"
	a.features = blkif.Features{
		MaxRingOrder: o.ringOrder(), MaxQueues: o.MaxQueues, MaxIndirect: o.IndirectSegments,
		Persistent: o.PersistentGrants > 0, Flush: true, Barrier: true,
		Discard: discard, Secure: discard && x.SecureDiscard,
	}
	if discard {
		a.features.Granularity = uint32(max(x.DiscardGranularity, a.disk.sectorSize))
	}
	a.disk.discardable = discard
	s.mu.Lock()
	s.attached[a] = struct{}{}
	s.mu.Unlock()
	return a, nil
}
