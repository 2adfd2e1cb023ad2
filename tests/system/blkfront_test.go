package system

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

const blkcheck = "morgana/stubdoms/blkcheck"

// imageDisk is a disk of dom0's: a file in memory and a loop device over it.
type imageDisk struct{ file, loop string }

// disk makes a disk of size MiB with sectors of the given size in dom0.
func disk(t *testing.T, h *testbed.Host, name string, mib, sector int) imageDisk {
	t.Helper()
	file := "/tmp/" + name + ".img"
	out, err := h.Script(within(t, time.Minute), fmt.Sprintf("truncate -s %dM %s && losetup -b %d -f --show %s", mib, file, sector, file))
	if err != nil {
		t.Fatal(err)
	}
	d := imageDisk{file, strings.TrimSpace(out)}
	t.Cleanup(func() {
		if _, err := h.Script(within(t, time.Minute), "losetup -d "+d.loop+"; rm -f "+file); err != nil {
			t.Error(err)
		}
	})
	return d
}

var sha = regexp.MustCompile(`blkcheck: sha256 ([0-9a-f]{64})`)

// TestBlockFrontend: our frontend in a unikernel against Linux's backend and QEMU's.
func TestBlockFrontend(t *testing.T) {
	h := host(t)
	img := unikernel(t, h, blkcheck)
	// Linux offers as many queues as dom0 has CPUs, which is one.
	if _, err := h.Script(within(t, time.Minute), "echo 4 >/sys/module/xen_blkback/parameters/max_queues"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, disk, args string
		sector           int
		says             string
	}{
		{name: "linux", disk: "phy:LOOP,xvda,w", sector: 512},
		{name: "linux-one-page", disk: "phy:LOOP,xvda,w", sector: 512, args: "--order=-1 --segments=11 --steps=60"},
		{name: "linux-4096", disk: "phy:LOOP,xvda,w", sector: 4096, args: "--order=4 --queues=4", says: "4 rings of 512 requests"},
		{name: "linux-read-only", disk: "phy:LOOP,xvda,r", sector: 512, args: "--read-only"},
		{name: "qdisk", disk: "format=raw,vdev=xvda,access=rw,backendtype=qdisk,target=FILE", sector: 512, args: "--steps=60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := within(t, 8*time.Minute)
			k := disk(t, h, "blkfront-"+c.name, 12, c.sector)
			spec := strings.NewReplacer("FILE", k.file, "LOOP", k.loop).Replace(c.disk)
			d, err := h.StartDomain(ctx, testbed.DomainConfig{
				Name: c.name, Kernel: img, MemoryMiB: 64, Disks: []string{spec}, Cmdline: c.args + " device/vbd/51712",
			})
			if err != nil {
				t.Fatal(err)
			}
			reason, err := d.Wait(ctx)
			out := d.Console.String()
			if err != nil || reason != "poweroff" || !strings.Contains(out, "blkcheck: all is well") || !strings.Contains(out, c.says) {
				t.Fatalf("ended with %q, %v:\n%s", reason, err, out)
			}
			m := sha.FindStringSubmatch(out)
			there, err := h.Script(ctx, "sync; sha256sum "+k.file)
			if err != nil || m == nil || !strings.HasPrefix(there, m[1]) {
				t.Errorf("dom0's checksum is %s (%v), the domain's is in\n%s", there, err, out)
			}
		})
	}
}

// TestBlockFrontendLives: a disk grows while it is used, and is detached.
func TestBlockFrontendLives(t *testing.T) {
	h := host(t)
	ctx := within(t, 8*time.Minute)
	k := disk(t, h, "blkfront-lives", 16, 512)
	d, err := h.StartDomain(ctx, testbed.DomainConfig{
		Name: "blkfront-lives", Kernel: unikernel(t, h, blkcheck), MemoryMiB: 64, Disks: []string{"phy:" + k.loop + ",xvda,w"},
		Cmdline: "--steps=20 --grow --wait device/vbd/51712",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ says, script string }{
		{"waits for a larger disk", fmt.Sprintf("truncate -s 20M %s && losetup -c %s", k.file, k.loop)},
		{fmt.Sprintf("%d bytes, that were %d", 20<<20, 16<<20), ""},
		{"sha256", fmt.Sprintf("xl block-detach %d xvda", d.ID)},
	} {
		if _, err := d.Console.WaitFor(ctx, step.says); err != nil {
			t.Fatal(err)
		}
		if step.script == "" {
			continue
		}
		if _, err := h.Script(ctx, step.script); err != nil {
			t.Fatal(err)
		}
	}
	if reason, err := d.Wait(ctx); err != nil || reason != "poweroff" {
		t.Fatalf("ended with %q, %v:\n%s", reason, err, d.Console)
	}
	out := d.Console.String()
	if !strings.Contains(out, "blkcheck: detached") {
		t.Error(out)
	}
	there, err := h.Script(ctx, "sync; sha256sum "+k.file)
	if m := sha.FindStringSubmatch(out); err != nil || m == nil || !strings.HasPrefix(there, m[1]) {
		t.Errorf("dom0's checksum is %s (%v), the domain's is in\n%s", there, err, out)
	}
}

// TestBlockFrontendSaved: a domain that reads all the time is saved and restored: its disk is another connection of another
// domain's number then, and nothing is missing.
func TestBlockFrontendSaved(t *testing.T) {
	h := host(t)
	ctx := within(t, 8*time.Minute)
	k := disk(t, h, "blkfront-saved", 12, 512)
	d, err := h.StartDomain(ctx, testbed.DomainConfig{
		Name: "blkfront-saved", Kernel: unikernel(t, h, blkcheck), MemoryMiB: 48, Disks: []string{"phy:" + k.loop + ",xvda,w"},
		Cmdline: "--steps=20 --grow device/vbd/51712",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Console.WaitFor(ctx, "waits for a larger disk"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Output(ctx, "xl", "save", strconv.Itoa(d.ID), "/tmp/blkfront-saved.save"); err != nil {
		t.Fatalf("%v\n%s", err, d.Console)
	}
	r, err := h.RestoreDomain(ctx, d.Name, "/tmp/blkfront-saved.save")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Destroy(within(t, time.Minute)) // it is gone if all went well
	if _, err := h.Script(ctx, fmt.Sprintf("rm /tmp/blkfront-saved.save; sleep 2; truncate -s 14M %s && losetup -c %s", k.file, k.loop)); err != nil {
		t.Fatal(err)
	}
	m, err := r.Console.WaitFor(ctx, sha.String()+`\s+blkcheck: all is well`)
	if err != nil {
		log, _ := h.Script(ctx, "cat /var/log/xen/console/guest-"+d.Name+".log")
		t.Fatalf("%v\n%s", err, log)
	}
	there, err := h.Script(ctx, "sync; sha256sum "+k.file)
	if err != nil || !strings.HasPrefix(there, m[1]) {
		t.Errorf("dom0's checksum is %s (%v), the domain's %s", there, err, m[1])
	}
}

// lines are those that begin with prefix, without it.
func lines(s, prefix string) string {
	var b strings.Builder
	for l := range strings.Lines(s) {
		if rest, ok := strings.CutPrefix(l, prefix); ok {
			b.WriteString("  " + rest)
		}
	}
	return b.String()
}
