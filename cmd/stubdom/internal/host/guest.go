package host

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"morgana/tests/testbed"
)

// startStorage starts the storage domain and waits until it serves the group.
func (j *job) startStorage(ctx context.Context) error {
	if j.Linux {
		_, err := j.h.Output(ctx, "vgchange", "-qq", "-ay", group)
		j.screen.say("not started, dom0's Linux serves the volume")
		return err
	}
	d, err := j.h.StartDomain(ctx, testbed.DomainConfig{
		Name: storageDom, Kernel: filepath.Join(j.Images, "storage.elf"), MemoryMiB: 128, Disks: []string{j.h.PlainDisk(j.disk, "xvda")},
	})
	if err != nil {
		return err
	}
	j.storage = d
	begun := time.Now()
	if _, err := d.Console.WaitFor(ctx, `msg=serving`); err != nil {
		return fmt.Errorf("%w; its console:\n%s", err, d.Console)
	}
	j.screen.say("created in %.1f s, served %.1f s later", d.Created.Seconds(), time.Since(begun).Seconds())
	return nil
}

// startGuest starts a stock Linux from the volume.
func (j *job) startGuest(ctx context.Context) error {
	c, err := j.h.RootGuest(ctx, guestDom, "pvh", `sum() { `+sumPrograms+`; }
echo "GUEST root $(findmnt -no SOURCE /)"
echo "GUEST programs $(sum /usr/sbin)"
dd if=/dev/urandom of=/srv/data bs=64k count=128 conv=fsync 2>/dev/null
sync
echo "GUEST data $(sha256sum </srv/data | cut -d' ' -f1)"`+j.onwards())
	if err != nil {
		return err
	}
	c.Disks = []string{fmt.Sprintf("format=raw,vdev=xvda,access=rw,backend=%s,target=%s/%s", j.name(j.storage), group, volume)}
	if j.Linux {
		c.Disks = []string{fmt.Sprintf("phy:/dev/%s/%s,xvda,w", group, volume)}
	}
	if j.guest, err = j.h.StartDomain(ctx, c); err != nil {
		return err
	}
	j.boots = time.Now()
	j.screen.say("created in %.1f s", j.guest.Created.Seconds())
	return nil
}

// manage creates a volume, while the guest uses another, by mlvm in dom0.
func (j *job) manage(ctx context.Context) error {
	if j.Linux {
		_, err := j.h.Output(ctx, "lvcreate", "-qq", "--yes", "-L", "100M", "-n", made, group)
		j.screen.say("lvcreate -n %s", made)
		return err
	}
	if _, err := j.mlvm(); err != nil {
		return err
	}
	begun := time.Now()
	_, err := j.Manage(ctx, "lvcreate", "-L", "100M", "-n", made, group)
	j.screen.say("mlvm --domain %s lvcreate -n %s took %.1f s", j.storage.Name, made, time.Since(begun).Seconds())
	return err
}

// name is a domain's name, if it was started.
func (j *job) name(d *testbed.Domain) string {
	if d == nil {
		return ""
	}
	return d.Name
}

// crashStore lets the program of the xenstore domain die under the guest.
func (j *job) crashStore(ctx context.Context) error {
	if !j.crashes {
		j.screen.say("not tried: its image is not the one for tests")
		return nil
	}
	begun := time.Now()
	if err := j.CrashStore(ctx); err != nil {
		return err
	}
	j.screen.say("it answers after %.1f s", time.Since(begun).Seconds())
	return nil
}

// followGuest follows the guest until its work is done.
func (j *job) followGuest(ctx context.Context) error {
	m, err := j.guest.Console.WaitFor(ctx, `GUEST root (\S+)`)
	if err != nil {
		return fmt.Errorf("%w; its console:\n%s", err, j.guest.Console)
	}
	root := fmt.Sprintf("its root is %s after %.1f s", m[1], time.Since(j.boots).Seconds())
	j.screen.say("%s", root)
	for _, w := range []struct{ what, pattern string }{
		{"it has read its programs", `GUEST programs (\S+)`},
		{"it has written 8 MiB and synced", `GUEST data (\S+)`},
	} {
		m, err := j.guest.Console.WaitFor(ctx, w.pattern)
		if err != nil {
			return fmt.Errorf("%w; its console:\n%s", err, j.guest.Console)
		}
		j.data = m[1]
		if w.what == "it has read its programs" && m[1] != j.sums {
			return fmt.Errorf("the guest read programs with checksum %s, dom0 wrote %s", m[1], j.sums)
		}
		j.screen.say("%s; %s", root, w.what)
	}
	return nil
}

// endGuest ends the guest's work, and waits for its end.
func (j *job) endGuest(ctx context.Context) error {
	if j.stays() {
		j.guest.Console.Type("\n")
	}
	reason, err := j.guest.Wait(ctx)
	if err != nil {
		return err
	}
	if reason != "poweroff" {
		return fmt.Errorf("the guest ended with %s; its console:\n%s", reason, j.guest.Console)
	}
	if m := regexp.MustCompile(`(?m)^.*(I/O error|EXT4-fs error).*$`).FindString(j.guest.Console.String()); m != "" {
		return fmt.Errorf("the guest says: %s", m)
	}
	return nil
}

// endStorage shuts the storage domain down.
func (j *job) endStorage(ctx context.Context) error {
	if j.Linux {
		return nil
	}
	return j.storage.Shutdown(ctx)
}

// onwards is what the guest does while somebody looks on: it reads and writes until a line is typed at its console.
func (j *job) onwards() string {
	if !j.stays() {
		return ""
	}
	return `
echo "GUEST goes on until Enter"
n=0
until read -t 1 line; do
	n=$((n+1))
	dd if=/dev/urandom of=/srv/scratch bs=64k count=$((8 + n % 8 * 8)) conv=fsync 2>/dev/null
	dd if=/dev/xvda of=/dev/null bs=64k count=$((16 + n % 5 * 32)) skip=$((n * 64 % 4096)) iflag=direct 2>/dev/null
	echo "round $n"
done
sync`
}
