package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"morgana/tests/testbed"
)

// Options of the job.
type Options struct {
	Images   string        // directory of the images that make stubdoms makes
	Programs string        // directory of the programs that make build makes
	Words    io.Writer     // how it goes
	Linux    bool          // dom0's own Linux serves the volume, and C xenstored the store, for comparison
	HTTP     string        // address of a page that shows the host; "" for none
	Patience time.Duration // how long a step may take, but the one that waits for a person; 0 for ever
}

// Names of what the job makes.
const (
	group      = "vg0"
	volume     = "web"
	made       = "more" // while the guest runs
	storageDom = "storage"
	guestDom   = "web"
	diskMiB    = 1024 // the disk that the storage domain gets
)

// A job is one run on a real host. What a step learns, the later ones use.
type job struct {
	*show

	h        *testbed.Host
	disk     string   // its device in dom0
	undo     []func() // in reverse, at the end
	storage  *testbed.Domain
	guest    *testbed.Domain
	boots    time.Time       // since when the guest does
	consoles *testbed.Domain // the console domain, if it was started
	crashes  bool            // the program of the xenstore domain can be crashed
	sums     string          // SHA-256 of the programs in the volume, all together, as dom0 wrote them
	data     string          // SHA-256 of what the guest wrote, as it says
}

// Run does the whole job and prints what was verified on out.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	j := &job{show: newShow(o)}
	defer func() {
		for i := len(j.undo) - 1; i >= 0; i-- {
			j.undo[i]()
		}
		if j.h != nil {
			err = errors.Join(err, j.h.Close())
		}
	}()
	steps := []step{
		{name: "a Xen host", do: j.bringHost},
		{name: "dom0's lvm2 prepares the disk", do: j.prepareDisk},
		{name: "the storage domain opens it", do: j.startStorage},
	}
	if !j.Linux {
		steps = append(steps, step{name: "the console domain takes the consoles of guests to come", do: j.startConsoles})
	}
	steps = append(steps, []step{
		{name: "a stock Linux guest starts from its volume", do: j.startGuest},
		{name: "its volumes are managed meanwhile", do: j.manage},
	}...)
	if !j.Linux {
		steps = append(steps, step{name: "the xenstore domain's program dies, and the next one goes on", do: j.crashStore})
	}
	steps = append(steps, step{name: "the guest boots, works, and syncs", do: j.followGuest})
	if j.stays() {
		steps = append(steps, step{name: "the host works until quit", open: true, do: func(ctx context.Context) error { return j.converse(ctx, j) }})
	}
	steps = append(steps, []step{
		{name: "the guest powers off", do: j.endGuest},
		{name: "the storage domain gives the disk back", do: j.endStorage},
		{name: "dom0's lvm2 and e2fsck look at it", do: j.verify},
		{name: "the console domain ends", do: j.endConsoles},
	}...)
	err = j.play(ctx, steps)
	j.close()
	if err != nil {
		return err
	}
	return j.summary(out)
}

// bringHost finds this machine's Xen or boots a host in QEMU.
func (j *job) bringHost(ctx context.Context) error {
	o := testbed.Options{Progress: (*progress)(j)}
	own := testbed.OwnHost()
	var err error
	if !own {
		var dir string
		if dir, err = os.MkdirTemp("", "morgana-disk"); err != nil {
			return err
		}
		j.undo = append(j.undo, func() { os.RemoveAll(dir) })
		file := filepath.Join(dir, "disk.img")
		if err := newDisk(ctx, o.Progress, file); err != nil {
			return err
		}
		o.Disks = []string{file}
		j.disk = "/dev/vdb" // after dom0's own
		if !j.Linux {
			if o.Share, err = os.MkdirTemp("", "morgana-share"); err != nil {
				return err
			}
			j.undo = append(j.undo, func() { os.RemoveAll(o.Share) })
			if o.Xenstored, err = j.xenstoreDomain(o.Share); err != nil {
				return err
			}
		}
		j.screen.say("booting one in QEMU")
	}
	if j.h, err = testbed.Start(ctx, o); err != nil {
		return err
	}
	if !own {
		by := "a domain of ours"
		if j.Linux {
			by = "C xenstored"
		}
		j.screen.say("booted in QEMU in %.1f s, %s serves xenstore", j.h.BootTime.Seconds(), by)
		return j.lookOn(ctx)
	}
	j.screen.say("this machine's own")
	if err := j.lookOn(ctx); err != nil {
		return err
	}
	file := filepath.Join(j.h.Share, "disk.img")
	if err := newDisk(ctx, o.Progress, file); err != nil {
		return err
	}
	loop, err := j.h.Output(ctx, "losetup", "-f", "--show", file)
	j.disk = strings.TrimSpace(loop)
	j.undo = append(j.undo, func() { j.h.Output(context.WithoutCancel(ctx), "losetup", "-d", j.disk) })
	return err
}

// xenstoreDomain puts into the share what starts the domain that serves xenstore, and returns its name in dom0.
func (j *job) xenstoreDomain(share string) (string, error) {
	// The image that make run builds beside the other one knows the command crash.
	j.crashes = true
	image, err := os.ReadFile(filepath.Join(j.Images, "crashtest", "xenstore.elf"))
	if errors.Is(err, fs.ErrNotExist) {
		j.crashes = false
		image, err = os.ReadFile(filepath.Join(j.Images, "xenstore.elf"))
	}
	if err != nil {
		return "", fmt.Errorf("%w; make stubdoms makes it", err)
	}
	start, err := os.ReadFile(filepath.Join(j.Images, "start-xenstore-domain"))
	if err != nil {
		return "", fmt.Errorf("%w; make stubdoms makes it", err)
	}
	for name, b := range map[string][]byte{"xenstore.elf": image, "start-xenstore-domain": start} {
		if err := os.WriteFile(filepath.Join(share, name), b, 0o755); err != nil {
			return "", err
		}
	}
	const script = "#!/bin/sh\nKERNEL=/share/xenstore.elf /share/start-xenstore-domain \"$@\" && xl vcpu-pin Xenstore 0 1\n"
	return "/share/start", os.WriteFile(filepath.Join(share, "start"), []byte(script), 0o755)
}

// newDisk makes the disk, with a Debian where its first volume will be.
func newDisk(ctx context.Context, progress io.Writer, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(diskMiB<<20), f.Close()); err != nil {
		return err
	}
	return testbed.PutRoot(ctx, progress, file)
}

// progress shows the words of what a step waits for.
type progress job

func (p *progress) Write(b []byte) (int, error) {
	p.screen.say("%s", strings.TrimPrefix(strings.TrimSpace(string(b)), "testbed: "))
	return len(b), nil
}
