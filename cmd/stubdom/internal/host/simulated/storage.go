package simulated

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"morgana/blkback"
	"morgana/cmd/mlvm/serving"
	"morgana/cmd/stubdom/internal/host/model"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/remote"
	"morgana/xen/blkfront"
	"morgana/xen/xenbus/xenbustest"
)

// Prepare makes a volume group on dom0's disk, and volumes of so many MiB in it, as an administrator does before the
// storage domain gets it.
func (h *Host) Prepare(ctx context.Context, rnd interface{ Read([]byte) (int, error) }, volumes map[string]int) error {
	disk := lvm.Disk{Name: "/dev/sda", Device: h.disk}
	env := metadata.Env{Rand: rnd, Now: time.Now().Unix(), Host: "dom0"}
	pv, err := lvm.CreatePV(ctx, disk, lvm.PVOptions{Rand: rnd, AreaSize: 4 << 20})
	if err != nil {
		return err
	}
	vg, _, err := metadata.NewVG(env, metadata.CreateVG{Name: GroupName, ExtentSize: 4 << 20 / metadata.SectorSize, PVs: []metadata.NewPV{pv.New()}})
	if err != nil {
		return err
	}
	g, err := lvm.CreateGroup(ctx, vg, []*lvm.PhysicalVolume{pv}, nil)
	if err != nil {
		return err
	}
	if err := g.Close(ctx); err != nil {
		return err
	}
	return h.withVolumes(ctx, func(v *serving.Volumes) error {
		for name, mib := range volumes {
			if _, err := run(ctx, v, fmt.Sprintf("lvcreate -L%dm -n %s %s", mib, name, GroupName)); err != nil {
				return err
			}
		}
		return nil
	})
}

// withVolumes opens the group on dom0's disk, which no domain has at the time.
func (h *Host) withVolumes(ctx context.Context, f func(*serving.Volumes) error) error {
	var words bytes.Buffer
	v := serving.New([]lvm.Disk{{Name: "/dev/sda", Device: h.disk}}, serving.Options{Words: &words})
	_, err := v.Start(ctx)
	if err == nil {
		err = f(v)
	}
	if err = errors.Join(err, v.Close(ctx)); err != nil {
		return fmt.Errorf("%w\n%s", err, &words)
	}
	return nil
}

// run carries out a command and returns what it printed.
func run(ctx context.Context, v *serving.Volumes, line string) (string, error) {
	var out bytes.Buffer
	if code := v.Run(ctx, strings.Fields(line), &out, &out); code != 0 {
		return "", fmt.Errorf("%s: exit code %d: %s", line, code, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// storage is the storage domain.
type storage struct {
	h   *Host
	dom *domain

	stop func() // ends the program, and waits for its end
}

// StartStorage starts the storage domain, and returns when it takes commands.
func (h *Host) StartStorage(ctx context.Context) error {
	d, err := h.newDomain(ctx, "storage", model.Storage)
	if err != nil {
		return err
	}
	h.storage = &storage{h: h, dom: d, stop: func() {}}
	h.lower = xenbustest.Device{Class: "vbd", Frontend: d.ID(), Backend: 0, Number: diskNode, Nodes: map[string]string{"params": "/dev/sda", "mode": "w"}}
	if err := h.tools.Attach(ctx, &h.lower); err != nil {
		return err
	}
	return h.storage.start(ctx)
}

// RestartStorage ends the storage domain's program, with requests under way, and starts it anew.
func (h *Host) RestartStorage(ctx context.Context) error {
	h.storage.stop()
	return h.storage.start(ctx)
}

// start starts the program and waits until it takes commands.
func (s *storage) start(ctx context.Context) error {
	life, cancel := context.WithCancelCause(s.h.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.program(life)
		if life.Err() == nil {
			s.dom.print("storage: " + err.Error())
		}
		cancel(err)
	})
	s.stop = sync.OnceFunc(func() { cancel(context.Canceled); wg.Wait() })
	s.dom.entered++
	for {
		_, code, err := s.h.Command(ctx, int(s.dom.ID()), "version")
		switch {
		case err == nil && code == 0:
			return nil
		case life.Err() != nil:
			return fmt.Errorf("the storage domain's program ended: %w", context.Cause(life))
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		time.Sleep(time.Millisecond)
	}
}

// program is what stubdoms/storage does.
func (s *storage) program(ctx context.Context) error {
	store, dom := s.dom.store, s.dom
	disk, err := blkfront.Open(ctx, blkfront.Config{Store: store, Domain: dom, Path: fmt.Sprintf("device/vbd/%d", diskNode)})
	if err != nil {
		return err
	}
	defer disk.Close()
	v := serving.New([]lvm.Disk{{Name: "/dev/xvda", Device: disk}}, serving.Options{RedoLog: true, Words: dom})
	groups, err := v.Start(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := v.Close(ctx); err != nil {
			dom.print("storage: " + err.Error())
		}
	}()
	server, err := blkback.New(blkback.Config{Store: store, Domain: dom, Open: v.Disk, Options: blkback.Options{Resumable: true}})
	if err != nil {
		return err
	}
	dom.print(fmt.Sprintf("serving groups=%v disks=1 generation=%d", groups, dom.entered))
	ctx, cancel := context.WithCancelCause(ctx)
	var commands sync.WaitGroup
	commands.Go(func() { cancel(remote.Serve(ctx, store, dom.ID(), serving.Commands(v, server))) })
	cancel(server.Serve(ctx))
	commands.Wait()
	return context.Cause(ctx)
}

// Manage carries out a command of mlvm's in the storage domain.
func (h *Host) Manage(ctx context.Context, args ...string) (string, error) {
	out, code, err := h.Command(ctx, int(h.storage.dom.ID()), args...)
	h.Changed()
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s", args[0], code, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// EndStorage shuts the storage domain down: its disk is dom0's again.
func (h *Host) EndStorage(ctx context.Context) error {
	h.storage.stop()
	if err := h.tools.Destroy(ctx, &h.lower); err != nil {
		return err
	}
	return h.destroy(ctx, h.storage.dom)
}

// ReadVolume reads a volume from dom0's disk, when no domain has it.
func (h *Host) ReadVolume(ctx context.Context, name string) (b []byte, err error) {
	err = h.withVolumes(ctx, func(v *serving.Volumes) error {
		vol, err := v.Open(ctx, GroupName+"/"+name, true, nil)
		if err != nil {
			return err
		}
		defer vol.Close()
		b = make([]byte, vol.LV.Size())
		_, err = vol.LV.ReadAt(b, 0)
		return err
	})
	return b, err
}

// Check looks at the group as vgck does, when no domain has it, and returns its volumes: it is whole, each copy of its
// metadata says the same, and no change waits in a log.
func (h *Host) Check(ctx context.Context) (volumes string, err error) {
	inv, err := lvm.Scan(ctx, []lvm.Disk{{Name: "/dev/sda", Device: h.disk}}, lvm.ScanOptions{})
	if err != nil {
		return "", err
	}
	for _, p := range inv.Problems() {
		err = errors.Join(err, p)
	}
	g, gerr := inv.Group(GroupName)
	if err = errors.Join(err, gerr); err != nil {
		return "", err
	}
	if g.Err != nil || g.VG.Partial() {
		return "", fmt.Errorf("volume group %s is not whole: %w", GroupName, errors.Join(g.Err, lvm.ErrMissing))
	}
	err = h.withVolumes(ctx, func(v *serving.Volumes) (err error) {
		volumes, err = run(ctx, v, "lvs --noheadings -O lv_name -o lv_name,lv_size "+GroupName)
		return err
	})
	return strings.Join(strings.Fields(volumes), " "), err
}
