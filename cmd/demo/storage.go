package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"morgana/tests/testbed"
)

// step is one thing that was shown of the storage domain.
type step struct {
	what, result string
	took         time.Duration
}

// storageDisk makes the disk that the storage domain is to have: an image here, which an emulated host has as /dev/vdb
// and an own one as a file.
func storageDisk(dir string) (string, error) {
	name := filepath.Join(dir, "storage.img")
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	if err := f.Truncate(2 << 30); err != nil {
		f.Close()
		return "", err
	}
	return name, f.Close()
}

// storageShow is what is shown of the storage domain, while it goes on.
type storageShow struct {
	h     *testbed.Host
	say   func(format string, args ...any)
	steps []step
	began time.Time
}

// done notes a step that has ended.
func (s *storageShow) done(what, format string, args ...any) {
	x := step{what, fmt.Sprintf(format, args...), time.Since(s.began)}
	s.began = time.Now()
	s.steps = append(s.steps, x)
	s.say("%-52s %s", x.what, x.result)
}

// showStorage has a stock Linux guest boot from a volume that the storage domain serves, and dom0's lvm2 look at what it
// left. disk is dom0's name of a disk to use up.
func showStorage(ctx context.Context, h *testbed.Host, image, disk string, say func(string, ...any)) ([]step, error) {
	s := &storageShow{h: h, say: say, began: time.Now()}
	// An own host has other disks and groups: lvm2 is to look at this one only, and the group has a name of its own.
	group := fmt.Sprintf("morgana%d", os.Getpid())
	only := fmt.Sprintf(`--config 'devices{filter=["a|^%s$|","r|.*|"] use_devicesfile=0}'`, disk)
	if _, err := h.Script(ctx, fmt.Sprintf(`set -e
		pvcreate -q %[1]s %[2]s; vgcreate -q %[1]s %[3]s %[2]s; lvcreate -q %[1]s -n root -L %[4]dm %[3]s
		dd if=%[5]s of=/dev/%[3]s/root bs=1M conv=fsync 2>/dev/null
		vgchange -q %[1]s -an %[3]s`, only, disk, group, testbed.GuestRootMiB+16, h.GuestRoot)); err != nil {
		return nil, fmt.Errorf("prepare the disk with dom0's lvm2: %w", err)
	}
	s.done("dom0's lvm2 makes a group with a Debian in a volume", "done")

	storage, err := h.StartDomain(ctx, testbed.DomainConfig{Name: "storage", Kernel: image, MemoryMiB: 128, Disks: []string{disk + ",raw,xvda,rw"}})
	if err != nil {
		return nil, err
	}
	if _, err := storage.Console.WaitFor(ctx, `msg=serving groups=\[`+group+`\]`); err != nil {
		return nil, fmt.Errorf("the storage domain does not serve: %w\n%s", err, storage.Console)
	}
	s.done("the storage domain serves it", "domain %d", storage.ID)

	sums, err := s.guest(ctx, storage.Name, group)
	if err != nil {
		return nil, fmt.Errorf("%w\nthe storage domain:\n%s", err, storage.Console)
	}
	if err := storage.Shutdown(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, storage.Console)
	}
	s.done("xl shutdown storage", "powered off")

	out, err := h.Script(ctx, fmt.Sprintf(`
		vgck %[1]s %[2]s && lvs %[1]s --noheadings -o lv_name %[2]s && vgchange -q %[1]s -ay %[2]s || exit 1
		e2fsck -fn /dev/%[2]s/root && mkdir -p /tmp/show && mount -o ro /dev/%[2]s/root /tmp/show && { cd /tmp/show/root && sha256sum -c sums; cd /; umount /tmp/show; }
		status=$?; vgchange -q %[1]s -an %[2]s; exit $status`, only, group))
	if err != nil {
		return nil, fmt.Errorf("dom0's lvm2 and e2fsck look at it: %w\n%s", err, out)
	}
	s.done("dom0's own lvm2 reads the group, e2fsck -fn is clean", "pass")
	if n := strings.Count(out, ": OK"); n != len(sums) {
		return nil, fmt.Errorf("%d of %d files are as the guest wrote them\n%s", n, len(sums), out)
	}
	s.done("the files are as the guest wrote them", "%d checksums agree", len(sums))
	return s.steps, nil
}

// guest boots a stock guest from the volume; it writes files and powers off.
func (s *storageShow) guest(ctx context.Context, storage, group string) (sums []string, err error) {
	c, err := s.h.RootGuest(ctx, "guest", "pvh", `
		mount | grep ' / '
		for n in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/root/$n bs=64k count=$((n*5)) 2>/dev/null; done
		sync; cd /root; sha256sum 1 2 3 4 5 6 7 8 | tee sums
		sync; echo GUEST wrote`)
	if err != nil {
		return nil, err
	}
	c.Disks = []string{fmt.Sprintf("format=raw,vdev=xvda,access=rw,backend=%s,target=%s/root", storage, group)}
	d, err := s.h.StartDomain(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, w := range []struct{ re, what, result string }{
		{`(?m)^/dev/xvda on / type ext4`, "a stock Linux guest boots from the volume", "its root is /dev/xvda"},
		{`GUEST wrote`, "it writes files and syncs", "done"},
	} {
		if _, err := d.Console.WaitFor(ctx, w.re); err != nil {
			return nil, fmt.Errorf("the guest does not say %q: %w\n%s", w.re, err, d.Console)
		}
		s.done(w.what, "%s", w.result)
	}
	reason, err := d.Wait(ctx)
	if err != nil || reason != "poweroff" {
		return nil, fmt.Errorf("the guest ended with %q, %w\n%s", reason, err, d.Console)
	}
	s.done("it powers off", "%s", reason)
	sums = regexp.MustCompile(`(?m)^[0-9a-f]{64}  [1-8]`).FindAllString(d.Console.String(), -1)
	if len(sums) == 0 {
		return nil, fmt.Errorf("the guest said no checksums\n%s", d.Console)
	}
	return sums, nil
}

// writeStorage prints the steps.
func writeStorage(w io.Writer, steps []step, paint func(c, text string) string) {
	if len(steps) == 0 {
		return
	}
	fmt.Fprint(w, "\nA stock guest on a logical volume, with no Linux between it and the disk\n\n")
	for _, s := range steps {
		fmt.Fprintf(w, "  %s  %-52s %-24s %6.1f s\n", paint(green, "pass"), s.what, s.result, s.took.Seconds())
	}
}
