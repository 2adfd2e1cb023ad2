package blkback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/wire/blkif"
	"morgana/xen/xenbus"
)

// ErrBusy tells a frontend that wants to connect anew while calls of its last connection have not returned from the
// device: they might still write.
var ErrBusy = errors.New("requests of the last connection are still with the device")

// Attachment is a disk that the tool stack attached to a domain. Its fields do not change, and its methods may be
// called concurrently.
type Attachment struct {
	Frontend xen.DomID
	Number   uint32 // the device's number in the domain: 51712 is xvda
	Path     string // the backend's directory in xenstore
	Target   string // the node "params": "target=" of the tool stack's configuration
	ReadOnly bool   // the node "mode" does not allow writing

	server   *Server
	conf     *Config
	device   *xenbus.Device
	log      *slog.Logger
	features blkif.Features
	info     uint32 // VDISK_*
	disk     *disk
	physical int
	release  func()

	mu      sync.Mutex
	queues  []*queue // of the connection
	orphans sync.WaitGroup
	waiting int // queues whose calls did not return in time
}

// Features implements xenbus.Backend.
func (a *Attachment) Features() map[string]string { return a.features.Map() }

// Connect implements xenbus.Backend.
func (a *Attachment) Connect(_ context.Context, front xenbus.Nodes) (map[string]string, error) {
	a.mu.Lock()
	busy := a.waiting > 0
	a.mu.Unlock()
	if busy {
		return nil, ErrBusy
	}
	conn, err := blkif.ParseConnection(blkif.Nodes(front), &a.features)
	if err != nil {
		return nil, err
	}
	a.disk.stopping.Store(false)
	var queues []*queue
	for i, c := range conn.Queues {
		q, err := a.attach(&conn, c, i)
		if err != nil {
			a.end(queues)
			return nil, fmt.Errorf("ring %d: %w", i, err)
		}
		queues = append(queues, q)
	}
	a.mu.Lock()
	a.queues = queues
	a.mu.Unlock()
	for _, q := range queues {
		q.others.Go(func() { q.listen(context.Background()) })
	}
	a.log.Info("connected", "rings", len(queues), "slots", queues[0].ring.Size(), "layout", conn.ABI, "persistent", queues[0].kept != nil)
	return a.publish(), nil
}

// publish is the nodes that tell of the disk.
func (a *Attachment) publish() map[string]string {
	d := blkif.Disk{Sectors: a.disk.sectors(), SectorSize: a.disk.sectorSize, PhysicalSectorSize: a.physical, Info: a.info}
	return d.Map()
}

// attach makes the queue of one ring.
func (a *Attachment) attach(conn *blkif.Connection, c blkif.Queue, i int) (*queue, error) {
	dom := a.conf.Domain
	pages, err := dom.Map(a.Frontend, c.Refs, xen.ReadWrite)
	if err != nil {
		return nil, err
	}
	event, err := dom.Connect(a.Frontend, c.Port)
	if err != nil {
		pages.Close()
		return nil, err
	}
	q := &queue{
		disk: a.disk, dom: dom, peer: a.Frontend, abi: conn.ABI, opt: &a.conf.Options, pages: pages, event: event,
		broken: func(err error) {
			err = fmt.Errorf("ring %d: %w", i, err)
			a.log.Warn("frontend broke the protocol", "error", err)
			a.device.Fail(err)
		},
		report: func(err error) { a.log.Warn("request failed", "ring", i, "error", err) },
	}
	if conn.Persistent && a.features.Persistent {
		q.kept = newKept(dom, a.Frontend, a.conf.PersistentGrants)
	}
	if q, err = newQueue(q); err != nil {
		return nil, err
	}
	// A backend that was killed may have answered and not told it.
	_ = event.Notify()
	return q, nil
}

// Disconnect implements xenbus.Backend. It waits for calls that the device does not return from no longer than
// CloseTimeout; what they use stays mapped until they return.
func (a *Attachment) Disconnect() {
	a.mu.Lock()
	queues := a.queues
	a.queues = nil
	a.mu.Unlock()
	a.disk.stopping.Store(true)
	a.end(queues)
	s := a.Stats()
	a.log.Info("disconnected", "reads", s.Requests(StatRead), "writes", s.Requests(StatWrite), "failed", s.Failed(),
		"median", s.Latency(0.5), "99%", s.Latency(0.99))
}

func (a *Attachment) end(queues []*queue) {
	timeout := time.NewTimer(a.conf.CloseTimeout)
	defer timeout.Stop()
	for _, q := range queues {
		q.stop()
	}
	late := false
	for _, q := range queues {
		if !late {
			select {
			case <-q.ended:
				q.others.Wait()
				continue
			case <-timeout.C:
				late = true
			}
		}
		select {
		case <-q.ended:
			q.others.Wait()
		default:
			a.orphan(q)
		}
	}
}

// orphan leaves a queue to end when its calls return.
func (a *Attachment) orphan(q *queue) {
	a.log.Error("the device does not return from a call; its memory stays in use", "after", a.conf.CloseTimeout)
	_ = q.event.Close()
	a.mu.Lock()
	a.waiting++
	a.mu.Unlock()
	a.orphans.Go(func() {
		<-q.ended
		q.others.Wait()
		a.mu.Lock()
		a.waiting--
		a.mu.Unlock()
		a.log.Info("the device has returned from its last call")
	})
}

// Close implements xenbus.Backend.
func (a *Attachment) Close() {
	a.server.forget(a)
	if a.release == nil {
		return
	}
	a.mu.Lock()
	busy := a.waiting > 0
	a.mu.Unlock()
	if !busy {
		a.release()
		return
	}
	go func() {
		a.orphans.Wait()
		a.release()
	}()
}

// Stats counts what the disk served since it was attached.
func (a *Attachment) Stats() *Stats { return &a.disk.stats }

// Connected reports how many rings are connected.
func (a *Attachment) Connected() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queues)
}

// Resized tells the frontend of the size that the device has now. What lies beyond it is refused already.
func (a *Attachment) Resized(ctx context.Context) error { return a.device.Publish(ctx, a.publish()) }

// Replace puts another device into the place of the disk's and tells the frontend of its size: an lvm.LV, for one, is
// opened anew when its volume grew. Requests go to the new one from now on. Replace waits for those that are with the
// old one and flushes it; it then is the caller's again. When it fails, or ctx ends before, the old one stays in use
// for flushes.
func (a *Attachment) Replace(ctx context.Context, dev block.Device) error {
	if err := a.disk.replace(dev, ctx.Done()); err != nil {
		return fmt.Errorf("blkback: %s: %w", a.Path, err)
	}
	return a.Resized(ctx)
}

// kick has the rings look around: for what is to be given back after a time without use.
func (a *Attachment) kick() {
	a.mu.Lock()
	queues := a.queues
	a.mu.Unlock()
	for _, q := range queues {
		q.kick()
	}
}
