package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

// fioJobs write, and read back what they wrote, each in its own way. Of NAME the shell makes the disk's.
const fioJobs = `
	f() { name=$1; shift
		/usr/bin/fio --name=$name --filename=/dev/NAME --ioengine=libaio --thread --verify=crc32c --verify_fatal=1 --randrepeat=1 --output=/tmp/fio "$@" \
			>/dev/null 2>&1 && echo GUEST fio NAME $name is well || { echo GUEST fio NAME $name failed; cat /tmp/fio; }
	}
	s=$(cat /sys/block/NAME/queue/logical_block_size)
	f direct --rw=randwrite --direct=1 --iodepth=16 --bsrange=$s-128k --blockalign=$s --size=12m --fsync=50
	f buffered --rw=randwrite --bs=16k --size=8m --end_fsync=1
	f mixed --rw=randrw --direct=1 --iodepth=8 --bssplit=4k/60:64k/30:256k/10 --size=12m --fdatasync=20
	f discards --rw=randtrimwrite --direct=1 --bs=64k --size=8m --do_verify=0 --verify=0
	f again --rw=write --direct=1 --iodepth=4 --bs=32k --size=8m
	echo GUEST fio NAME sectors $s discards $(cat /sys/block/NAME/queue/discard_max_bytes)
`

// fioGuest starts a guest with fio and tells what its script is to see.
func (s *storage) fioGuest(name, kind, script string, disks ...string) *testbed.Domain {
	s.t.Helper()
	ctx := within(s.t, 4*time.Minute)
	files, err := s.h.Programs(ctx, "/usr/bin/fio")
	if err != nil {
		s.t.Fatal(err)
	}
	files["fio.sh"] = []byte(script) // a command line has no room for it
	c, err := s.h.StockGuest(ctx, name, kind, "mkdir -p /dev/shm; sh /fio.sh", files)
	if err != nil {
		s.t.Fatal(err)
	}
	c.MemoryMiB, c.Disks = 512, disks // fio comes with many libraries
	d, err := s.h.StartDomain(ctx, c)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// fio checks what fio said of a disk.
func (s *storage) fio(t *testing.T, d *testbed.Domain, name string, sector int) {
	t.Helper()
	m := s.says(d, 4*time.Minute, fmt.Sprintf(`GUEST fio %s sectors (\d+) discards (\d+)`, name))
	if m[1] != fmt.Sprint(sector) || m[2] == "0" {
		t.Errorf("%s: the guest sees sectors of %s bytes and discards of %s at most", name, m[1], m[2])
	}
	for _, job := range []string{"direct", "buffered", "mixed", "discards", "again"} {
		if out := d.Console.String(); !strings.Contains(out, fmt.Sprintf("GUEST fio %s %s is well", name, job)) {
			t.Errorf("%s, %s:\n%s", name, job, out)
		}
	}
}

// verify has guests of both kinds write to volumes in many ways and read back.
func (s *storage) verify(t *testing.T) {
	s = &storage{t, s.h, s.dom, s.elf, s.mlvm}
	for _, kind := range []string{"pv", "pvh"}[:times(1, 2)] {
		d := s.fioGuest("fio-"+kind, kind, strings.ReplaceAll(fioJobs, "NAME", "xvda"), s.disk("xvda", "rw", "data"))
		s.fio(t, d, "xvda", 512)
		if reason, err := d.Wait(within(t, time.Minute)); err != nil || reason != "poweroff" {
			t.Errorf("%s ended with %q, %v", d.Name, reason, err)
		}
	}
}
