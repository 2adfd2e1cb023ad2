package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xenconsoled"
	"morgana/xenconsoled/logfile"
)

// hypervisor keeps Xen's own log.
type hypervisor struct {
	machine Machine
	event   xen.Event
	file    *logfile.File
	memory  *mapped
	mark    *xenconsoled.Mark
	index   *atomic.Uint32 // how far Xen's ring was read
	warn    func(string)
}

// Where things are in the memory: how far Xen's ring was read lies beside the mark, so that a daemon that starts again
// does not log all of it twice.
const (
	hvIndex = 64
	hvSize  = 4096
)

func (d *Daemon) openHypervisor() (_ *hypervisor, err error) {
	h := &hypervisor{machine: d.cfg.Machine, warn: d.cfg.Warn}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if h.memory, err = mapFile(filepath.Join(d.cfg.RunDir, "hypervisor"), hvSize); err != nil {
		return nil, err
	}
	if h.mark, err = xenconsoled.NewMark(h.memory.mem); err != nil {
		return nil, err
	}
	if h.index, err = ring.Word(h.memory.mem, hvIndex); err != nil {
		return nil, err
	}
	opts := d.cfg.Files
	opts.Stamp = d.cfg.StampHypervisor
	if h.file, err = logfile.Open(d.hypervisorFile(), h.mark, opts); err != nil {
		return nil, err
	}
	if h.event, err = d.cfg.Machine.BindVIRQ(xen.VIRQConRing); err != nil {
		return nil, err
	}
	return h, nil
}

func (d *Daemon) hypervisorFile() string {
	return filepath.Join(d.cfg.LogDir, "hypervisor"+d.extension())
}

// run logs until ctx ends.
func (h *hypervisor) run(ctx context.Context) error {
	buf := make([]byte, 16<<10)
	for {
		for {
			index := h.index.Load()
			n, err := h.machine.ReadLog(buf, &index)
			if err != nil {
				return fmt.Errorf("read Xen's log: %w", err)
			}
			if n == 0 {
				break
			}
			took, err := h.file.Write(h.mark, buf[:n], false)
			if err != nil {
				h.warn(fmt.Sprintf("Xen's log cannot be written: %v", err))
				break // Xen keeps it for a while
			}
			h.index.Store(index - uint32(n-took)) // the beginning of a line is read again when it has an end
			if took == 0 {
				break
			}
		}
		if err := h.event.Wait(ctx); err != nil {
			return err
		}
	}
}

func (h *hypervisor) close() {
	var err error
	if h.file != nil {
		err = h.file.Close()
	}
	if h.event != nil {
		err = errors.Join(err, h.event.Close())
	}
	if h.memory != nil {
		err = errors.Join(err, h.memory.Close(false))
	}
	if err != nil {
		h.warn(err.Error())
	}
}
