package system

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// storage is a host with a storage domain on a disk that dom0's lvm2 prepared: group vg0 with the volumes root, which
// holds a Debian, and data.
type storage struct {
	t    *testing.T
	h    *testbed.Host
	dom  *testbed.Domain
	elf  string
	mlvm string
}

// soaks says whether $SOAK is set.
func soaks() bool { return os.Getenv("SOAK") != "" }

// times is how often something is done: more where $SOAK is set.
func times(few, many int) int {
	if soaks() {
		return many
	}
	return few
}

func newStorage(t *testing.T) *storage {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 3<<30); err != nil {
		t.Fatal(err)
	}
	if err := testbed.PutRoot(within(t, 6*time.Minute), os.Stderr, disk); err != nil {
		t.Fatal(err)
	}
	h, err := testbed.Start(within(t, 6*time.Minute), testbed.Options{Disks: []string{disk}})
	if err != nil {
		t.Fatal(err)
	}
	s := &storage{t: t, h: h}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if s.dom != nil {
				t.Logf("the storage domain's console:\n%s", s.dom.Console)
			}
			nodes, _ := h.Output(ctx, "xenstore-ls", "-f")
			t.Logf("%s\n%s", regexp.MustCompile(`(?m)^/(libxl|vm|tool).*\n`).ReplaceAllString(nodes, ""), h.XenLog(ctx))
		}
		h.Close()
	})
	s.script(3*time.Minute, `set -e
		pvcreate -q /dev/vdb; vgcreate -q vg0 /dev/vdb
		lvcreate -q -Zn -Wn -n root -L 400m vg0; lvcreate -q -n data -L 64m vg0
		vgchange -q -an vg0`)
	s.mlvm = process(t, h, "morgana/cmd/mlvm")
	p, err := image.BuildProgram(filepath.Join(t.TempDir(), "storage"), "morgana/stubdoms/storage", "-tags=crashtest")
	if err != nil {
		t.Fatal(err)
	}
	s.elf = join(t, h, "storage", p)
	s.start()
	return s
}

// start starts the storage domain and waits until it serves.
func (s *storage) start() {
	s.t.Helper()
	var err error
	s.dom, err = s.h.StartDomain(within(s.t, 2*time.Minute), testbed.DomainConfig{
		Name: "storage", Kernel: s.elf, MemoryMiB: 128, Disks: []string{s.h.PlainDisk("/dev/vdb", "xvda")},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.says(s.dom, time.Minute, `msg=serving groups=\[vg0\]`)
}

// script runs a script in dom0.
func (s *storage) script(d time.Duration, format string, args ...any) string {
	s.t.Helper()
	out, err := s.h.Script(within(s.t, d), fmt.Sprintf(format, args...))
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// says waits until a domain says something.
func (s *storage) says(d *testbed.Domain, wait time.Duration, re string) []string {
	s.t.Helper()
	m, err := d.Console.WaitFor(within(s.t, wait), re)
	if err != nil {
		s.t.Fatalf("%s does not say %q: %v\n%s", d.Name, re, err, d.Console)
	}
	return m
}

// manage runs mlvm in dom0 on the storage domain's volumes.
func (s *storage) manage(args ...string) string {
	s.t.Helper()
	return s.script(time.Minute, "(%s --domain %s %s) 2>&1", s.mlvm, s.dom.Name, strings.Join(args, " "))
}

// disk is a guest's disk on a volume.
func (s *storage) disk(vdev, access, volume string) string {
	return fmt.Sprintf("format=raw,vdev=%s,access=%s,backend=%s,target=vg0/%s", vdev, access, s.dom.Name, volume)
}

// TestStorageDomain: a stock Linux guest has its root on a volume that the storage domain serves; volumes come, grow and
// go meanwhile; and when the domain is shut down dom0's lvm2 finds everything in order.
func TestStorageDomain(t *testing.T) {
	s := newStorage(t)
	h := s.h

	c, err := h.RootGuest(within(t, time.Minute), "web", "pvh", `
		mount | grep ' / '
		for n in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/root/$n bs=64k count=$((n*5)) 2>/dev/null; done
		sync
		cd /root; sha256sum 1 2 3 4 5 6 7 8 | tee sums
		sync; echo GUEST wrote`)
	if err != nil {
		t.Fatal(err)
	}
	c.Disks = []string{s.disk("xvda", "rw", "root")}
	began := time.Now()
	web, err := h.StartDomain(within(t, 2*time.Minute), c)
	if err != nil {
		t.Fatal(err)
	}
	s.says(web, 3*time.Minute, `(?m)^/dev/xvda on / type ext4`)
	t.Logf("the guest's root is there %v after xl create, which took %v", time.Since(began).Round(time.Millisecond), web.Created.Round(time.Millisecond))
	s.says(web, 3*time.Minute, `GUEST wrote`)
	sums := regexp.MustCompile(`(?m)^[0-9a-f]{64}  [1-8]`).FindAllString(web.Console.String(), -1)
	if reason, err := web.Wait(within(t, 2*time.Minute)); err != nil || reason != "poweroff" {
		t.Fatalf("the guest ended with %q, %v\n%s", reason, err, web.Console)
	}
	if len(sums) != 8 {
		t.Fatalf("the guest said %d checksums\n%s", len(sums), web.Console)
	}

	t.Run("idle", s.idle)
	t.Run("commands", s.commands)
	t.Run("attach", s.attachDetach)
	t.Run("grow", s.grow)
	t.Run("read-only", s.readOnly)
	t.Run("verify", s.verify)
	t.Run("crash", s.crash)

	if err := s.dom.Shutdown(within(t, 2*time.Minute)); err != nil {
		t.Fatalf("%v\n%s", err, s.dom.Console)
	}
	out := s.script(2*time.Minute, `
		lvs --noheadings -o lv_name,lv_size vg0 && vgck vg0 && vgchange -q -ay vg0 || exit 1
		e2fsck -fn /dev/vg0/root || exit 1
		mkdir -p /tmp/m && mount -o ro /dev/vg0/root /tmp/m && cd /tmp/m/root && sha256sum -c sums && cd / && umount /tmp/m
		status=$?; vgchange -q -an vg0; exit $status`)
	t.Logf("dom0's lvm2 and e2fsck:\n%s", out)
	if n := strings.Count(out, ": OK"); n != 8 {
		t.Errorf("%d of 8 files are as they were written\n%s", n, out)
	}
	s.dom = nil
	t.Run("dom0", s.inDom0)
}

// inDom0 serves the same group, and a file, by a process of dom0's, which is killed again and again.
func (s *storage) inDom0(t *testing.T) {
	s = &storage{t: t, h: s.h, elf: s.elf, mlvm: s.mlvm}
	blkback := process(t, s.h, "morgana/cmd/blkback")
	start := func() (pid string) {
		pid = strings.TrimSpace(s.script(time.Minute, `%s serve --disks /dev/vdb >>/tmp/blkback.log 2>&1 </dev/null & echo $!`, blkback))
		return pid
	}
	pid := start()
	defer func() {
		out := s.script(time.Minute, "kill %s; cat /tmp/blkback.log", pid)
		if t.Failed() {
			t.Logf("blkback's log:\n%s", out)
		}
	}()
	s.script(time.Minute, "truncate -s 64M /tmp/file.img")
	d := s.worker("dom0s")
	defer d.Destroy(within(t, time.Minute))
	for n, target := range []string{"/tmp/file.img", "vg0/data"} {
		s.script(time.Minute, "xl block-attach %d format=raw,vdev=xvdb,access=rw,script=%s,target=%s", d.ID, blkback, target)
		s.says(d, time.Minute, fmt.Sprintf(`GUEST round %d.3`, n+1))
		s.detach(d, "xvdb")
	}
	if out := s.script(time.Minute, "%s --domain 0 lvs --noheadings -o lv_name vg0 2>&1", s.mlvm); !strings.Contains(out, "root") {
		t.Errorf("mlvm --domain 0 lvs says\n%s", out)
	}

	loop := strings.TrimSpace(s.script(time.Minute, "truncate -s 32M /tmp/large.img; losetup -b 4096 -f --show /tmp/large.img"))
	large := s.fioGuest("fio-4096", "pvh", strings.ReplaceAll(fioJobs, "NAME", "xvda"),
		fmt.Sprintf("format=raw,vdev=xvda,access=rw,script=%s,target=%s", blkback, loop))
	s.fio(t, large, "xvda", 4096)
	if reason, err := large.Wait(within(t, time.Minute)); err != nil || reason != "poweroff" {
		t.Errorf("the guest of the disk with large sectors ended with %q, %v", reason, err)
	}
	s.script(time.Minute, "losetup -d %s; rm /tmp/large.img", loop)

	s.writer("dom0-kills", func(d *testbed.Domain) {
		s.script(time.Minute, "xl block-attach %d format=raw,vdev=xvdb,access=rw,script=%s,target=vg0/data", d.ID, blkback)
	}, func(int) {
		s.script(time.Minute, "kill -9 %s; while kill -0 %s 2>/dev/null; do sleep 0.01; done", pid, pid)
		pid = start()
	})
}

// cpu is how many seconds of CPU the storage domain has used.
func (s *storage) cpu() (seconds float64) {
	s.t.Helper()
	f := strings.Fields(s.script(time.Minute, "xl list %d | tail -n 1", s.dom.ID))
	if _, err := fmt.Sscan(f[len(f)-1], &seconds); err != nil {
		s.t.Fatal(err)
	}
	return seconds
}

// idle: a storage domain with nothing to do does nothing.
func (s *storage) idle(t *testing.T) {
	s = &storage{t, s.h, s.dom, s.elf, s.mlvm}
	before, begun := s.cpu(), time.Now()
	time.Sleep(10 * time.Second)
	used, took := s.cpu()-before, time.Since(begun).Seconds()
	t.Logf("the storage domain used %.1f s of CPU in %.1f s without work", used, took)
	if used > took/10 {
		t.Errorf("the storage domain used %.1f s of CPU in %.1f s without work", used, took)
		t.Logf("%s\n%s", s.script(time.Minute, "xenstore-ls -f /local/domain/%d; xl vcpu-list; ps -eo pid,time,args --sort -time | head -5", s.dom.ID), s.dom.Console)
	}
}

// commands are mlvm's, carried out by the domain.
func (s *storage) commands(t *testing.T) {
	s = &storage{t, s.h, s.dom, s.elf, s.mlvm}
	for _, c := range []struct{ cmd, want string }{
		{"lvs --noheadings -o lv_name,lv_size vg0", "data 64.00m root 400.00m"},
		{"lvcreate -L 16m -n extra vg0", `Logical volume "extra" created`},
		{"lvextend -L 32m vg0/extra", "successfully resized"},
		{"lvrename vg0 extra spare", "Renamed"},
		{"lvs --noheadings -o lv_name,lv_size vg0", "data 64.00m root 400.00m spare 32.00m"},
		{"lvremove -y vg0/spare", "successfully removed"},
		{"pvmove /dev/xvda || echo code $?", "not possible while the volumes are served; attach the disks to another domain for it code 5"},
	} {
		begun := time.Now()
		out := s.manage(c.cmd)
		if flat := strings.Join(strings.Fields(out), " "); !strings.Contains(flat, c.want) {
			t.Errorf("%s says\n%swant %q", c.cmd, out, c.want)
		}
		t.Logf("%-45s %v", c.cmd, time.Since(begun).Round(time.Millisecond))
	}
}

// worker is a stock guest that writes and verifies each disk xvdb that it sees, and says so.
func (s *storage) worker(name string) *testbed.Domain {
	s.t.Helper()
	c, err := s.h.StockGuest(within(s.t, time.Minute), name, "pvh", `
		n=0
		while true; do
			while ! [ -b /dev/xvdb ]; do usleep 20000; done
			n=$((n+1)); echo GUEST sees $n $(cat /sys/block/xvdb/size) $(cat /sys/block/xvdb/ro)
			if [ $(cat /sys/block/xvdb/ro) = 1 ]; then
				dd if=/dev/urandom of=/dev/xvdb bs=4k count=1 conv=fsync 2>/dev/null && echo GUEST wrote to a read-only disk
			else
				for r in 1 2 3; do
					dd if=/dev/urandom of=/tmp/block bs=64k count=16 2>/dev/null
					dd if=/tmp/block of=/dev/xvdb bs=64k seek=$((r*16)) conv=fsync 2>/dev/null || echo GUEST write failed
					echo 3 >/proc/sys/vm/drop_caches
					dd if=/dev/xvdb of=/tmp/back bs=64k skip=$((r*16)) count=16 2>/dev/null || echo GUEST read failed
					cmp /tmp/block /tmp/back && [ -s /tmp/back ] && echo GUEST round $n.$r
				done
			fi
			echo GUEST done $n
			was=$(cat /sys/block/xvdb/size)
			while [ -b /dev/xvdb ]; do
				usleep 20000
				is=$(cat /sys/block/xvdb/size 2>/dev/null) && [ "$is" != "$was" ] && echo GUEST grew to $is && was=$is
			done
		done`)
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := s.h.StartDomain(within(s.t, 2*time.Minute), c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.says(d, 2*time.Minute, `GUEST up`)
	return d
}

func (s *storage) attach(d *testbed.Domain, vdev, access, volume string) {
	s.t.Helper()
	s.script(time.Minute, "xl block-attach %d %s", d.ID, s.disk(vdev, access, volume))
}

func (s *storage) detach(d *testbed.Domain, vdev string) {
	s.t.Helper()
	s.script(time.Minute, "xl block-detach %d %s", d.ID, vdev)
}

// held is what the storage domain holds: nodes in xenstore, event channels, grants that it maps.
func (s *storage) held() string {
	return s.script(time.Minute, "xenstore-ls -f /local/domain/%d | grep -v /data/ | wc -l; lsevtchn %d | wc -l", s.dom.ID, s.dom.ID)
}

// attachDetach attaches and detaches a disk to a running guest again and again. Nothing is left of it.
func (s *storage) attachDetach(t *testing.T) {
	s = &storage{t, s.h, s.dom, s.elf, s.mlvm}
	cycles := times(3, 50)
	d := s.worker("cycles")
	defer d.Destroy(within(t, time.Minute))
	var before string
	begun := time.Now()
	for n := 1; n <= cycles; n++ {
		s.attach(d, "xvdb", "rw", "data")
		s.says(d, time.Minute, fmt.Sprintf(`GUEST done %d\r?\n`, n))
		s.detach(d, "xvdb")
		if n == 1 {
			before = s.held()
		}
	}
	if after := s.held(); after != before {
		t.Errorf("nodes and event channels of the storage domain: %q after the first cycle, %q after %d", before, after, cycles)
	}
	if log := d.Console.String(); strings.Contains(log, "failed") || strings.Count(log, "GUEST round") != 3*cycles {
		t.Errorf("not all was written and read back:\n%s", log)
	}
	t.Logf("%d cycles took %v each", cycles, (time.Since(begun) / time.Duration(cycles)).Round(time.Millisecond))
}

// grow makes a volume larger while a guest has it.
func (s *storage) grow(t *testing.T) {
	s = &storage{t, s.h, s.dom, s.elf, s.mlvm}
	d := s.worker("grows")
	defer d.Destroy(within(t, time.Minute))
	s.attach(d, "xvdb", "rw", "data")
	s.says(d, time.Minute, `GUEST sees 1 131072 0`)
	s.says(d, time.Minute, `GUEST done 1`)
	if out := s.manage("lvremove -y vg0/data || true"); !strings.Contains(out, "Logical volume vg0/data in use.") {
		t.Errorf("a volume that a guest has can be removed:\n%s", out)
	}
	s.manage("lvextend -L +32m vg0/data")
	s.says(d, time.Minute, `GUEST grew to 196608`)
	s.detach(d, "xvdb")
}

// readOnly attaches a volume for reading.
func (s *storage) readOnly(t *testing.T) {
	s = &storage{t, s.h, s.dom, s.elf, s.mlvm}
	d := s.worker("reads")
	defer d.Destroy(within(t, time.Minute))
	s.attach(d, "xvdb", "ro", "data")
	s.says(d, time.Minute, `GUEST sees 1 \d+ 1`)
	s.says(d, time.Minute, `GUEST done 1`)
	if strings.Contains(d.Console.String(), "GUEST wrote") {
		t.Error("the guest wrote to it")
	}
	s.detach(d, "xvdb")

	// Linux obeys what it was told. This one does not.
	bad, err := s.h.StartDomain(within(t, time.Minute), testbed.DomainConfig{
		Name: "writes", Kernel: unikernel(t, s.h, "morgana/stubdoms/badfront"), MemoryMiB: 64,
		Disks: []string{s.disk("xvda", "ro", "data")}, Cmdline: "--ways=writes --requests=300 device/vbd/51712",
	})
	if err != nil {
		t.Fatal(err)
	}
	reason, err := bad.Wait(within(t, 2*time.Minute))
	if out := bad.Console.String(); err != nil || reason != "poweroff" || !strings.Contains(out, "writes: 350 requests, 300 refused") {
		t.Errorf("who writes all the same ended with %q, %v:\n%s", reason, err, out)
	}
}

// crash kills the program in the storage domain again and again while a guest writes.
func (s *storage) crash(t *testing.T) {
	s = &storage{t, s.h, s.dom, s.elf, s.mlvm}
	s.writer("goes-on", func(d *testbed.Domain) { s.attach(d, "xvdb", "rw", "data") }, func(n int) {
		s.script(time.Minute, "xenstore-write /local/domain/%d/data/crash 1", s.dom.ID)
		s.says(s.dom, time.Minute, fmt.Sprintf(`msg=serving .* generation=%d`, n))
	})
	if out := s.manage("lvs --noheadings -o lv_name vg0"); !strings.Contains(out, "root") {
		t.Errorf("after the kills mlvm says\n%s", out)
	}
}

// writer is a guest that writes, flushes and reads back without end, while what serves its disk is killed again and
// again, the nth time by kill(n).
func (s *storage) writer(name string, attach func(*testbed.Domain), kill func(n int)) {
	t := s.t
	c, err := s.h.StockGuest(within(t, time.Minute), name, "pvh", `
		while ! [ -b /dev/xvdb ]; do usleep 20000; done
		n=0
		while true; do
			n=$((n+1))
			dd if=/dev/urandom of=/tmp/block bs=64k count=16 2>/dev/null
			dd if=/tmp/block of=/dev/xvdb bs=64k seek=$((n%3*16)) conv=fsync 2>/dev/null || echo GUEST write failed
			echo 3 >/proc/sys/vm/drop_caches
			dd if=/dev/xvdb of=/tmp/back bs=64k skip=$((n%3*16)) count=16 2>/dev/null || echo GUEST read failed
			cmp /tmp/block /tmp/back || echo GUEST differs
			echo GUEST round $n
		done`)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.h.StartDomain(within(t, 2*time.Minute), c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Destroy(within(t, 10*time.Minute))
	s.says(d, 2*time.Minute, `GUEST up`)
	attach(d)
	s.says(d, time.Minute, `GUEST round 3\r?\n`)
	kills := times(2, 10)
	for n := 1; n <= kills; n++ {
		begun := time.Now()
		kill(n)
		rounds := strings.Count(d.Console.String(), "GUEST round")
		s.says(d, time.Minute, fmt.Sprintf(`GUEST round %d\r?\n`, rounds+3))
		t.Logf("kill %d: the guest has written and read again after %v", n, time.Since(begun).Round(time.Millisecond))
	}
	if log := d.Console.String(); strings.Contains(log, "failed") || strings.Contains(log, "differs") {
		t.Errorf("the guest noticed:\n%s", log)
	}
}
