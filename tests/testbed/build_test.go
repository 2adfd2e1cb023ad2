package testbed

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestModuleOrder(t *testing.T) {
	const dep = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n" +
		"kernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc16.ko:\nkernel/drivers/block/xen-blkfront.ko:\n"
	const builtin = "kernel/drivers/virtio/virtio_ring.ko\n"
	for _, c := range []struct{ modules, want string }{
		{"crc16 ext4", "crc16 jbd2 ext4"},
		{"ext4", "crc16 jbd2 ext4"},
		{"virtio-ring xen_blkfront", "xen-blkfront"},
		{"nvme", "this Linux has no module nvme"},
	} {
		files, err := order(strings.Fields(c.modules), dep, builtin)
		var names []string
		for _, f := range files {
			names = append(names, strings.TrimSuffix(filepath.Base(f), ".ko"))
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("order(%s) = %s, want %s", c.modules, got, c.want)
		}
	}
}

// TestInitramfs reads the archive back by the format's description.
func TestInitramfs(t *testing.T) {
	var r initramfs
	r.file("sbin/deep/init", []byte("echo hello"))
	r.dir("dev")
	z, err := gzip.NewReader(bytes.NewReader(r.bytes()))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(b) > 0 {
		var h [13]int
		if string(b[:6]) != "070701" {
			t.Fatalf("magic is %q", b[:6])
		}
		for i := range h {
			if _, err := fmt.Sscanf(string(b[6+8*i:14+8*i]), "%x", &h[i]); err != nil {
				t.Fatal(err)
			}
		}
		mode, size, nameSize := h[1], h[6], h[11]
		name := string(b[110 : 110+nameSize-1])
		at := (110 + nameSize + 3) &^ 3
		got = append(got, fmt.Sprintf("%s %o %s", name, mode, b[at:at+size]))
		b = b[(at+size+3)&^3:]
	}
	want := []string{"sbin 40755 ", "sbin/deep 40755 ", "sbin/deep/init 100755 echo hello", "dev 40755 ", "TRAILER!!! 0 "}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("archive holds %q, want %q", got, want)
	}
}

// TestVerify: a host that is cut off, altered, or of another recipe is not used.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := verify(dir); !os.IsNotExist(err) {
		t.Errorf("empty directory: %v, want that it does not exist", err)
	}
	for _, name := range artefacts {
		write(name, "content of "+name)
	}
	m := manifest{Recipe: recipeHash()}
	if err := m.write(dir); err != nil {
		t.Fatal(err)
	}
	if err := verify(dir); err != nil {
		t.Errorf("as built: %v", err)
	}
	write(fileDom0, "content of dom0.imG")
	if err := verify(dir); err == nil || !strings.Contains(err.Error(), "dom0.img is not what was built") {
		t.Errorf("altered: %v", err)
	}
	write(fileDom0, "content of dom0.img")
	m.Recipe = "older"
	if err := m.write(dir); err != nil {
		t.Fatal(err)
	}
	if err := verify(dir); err == nil || !strings.Contains(err.Error(), "another recipe") {
		t.Errorf("other recipe: %v", err)
	}
}

// TestConsoleLogs: where xenconsoled logs guests is read from its command line.
func TestConsoleLogs(t *testing.T) {
	proc := t.TempDir()
	if dir, err := consoleLogs(proc); dir != "" || err != nil {
		t.Errorf("no processes: %q, %v", dir, err)
	}
	for i, c := range []struct{ cmdline, want string }{
		{"xenconsoled", ""},
		{"/usr/lib/xen-4.17/bin/xenconsoled\x00--log=hv\x00--log-dir=/l", ""},
		{"grep\x00xenconsoled\x00--log=guest", ""},
		{"/usr/sbin/xenconsoled\x00--log=guest", "/var/log/xen/console"},
		{"xenconsoled\x00--log\x00all\x00--log-dir\x00/l", "/l"},
		{"xenconsoled\x00--log=all\x00--log-dir=/m", "/m"},
	} {
		proc := filepath.Join(proc, fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Join(proc, "17"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, "17", "cmdline"), []byte(c.cmdline+"\x00"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := consoleLogs(proc); got != c.want || err != nil {
			t.Errorf("%q: %q, %v; want %q", c.cmdline, got, err, c.want)
		}
	}
}

// TestConsoleComplete: the log adds what the terminal lost, once.
func TestConsoleComplete(t *testing.T) {
	for _, c := range []struct{ terminal, log, console, copied string }{
		{"one\r\ntw", "one\r\ntwo\r\n", "one\ntwo\n", "one\ntwo\n"},
		{"one\n", "one\n", "one\n", "one\n"},
		{"two\n", "one\ntwo\n", "one\ntwo\n", "two\n"}, // a restored domain: the log is older
	} {
		var copied bytes.Buffer
		console := newConsole(&copied)
		console.Write([]byte(c.terminal))
		console.complete(c.log)
		if console.String() != c.console || copied.String() != c.copied {
			t.Errorf("terminal %q, log %q: console %q, copied %q", c.terminal, c.log, console, &copied)
		}
	}
}

// Only a dump with Xen's own code segment is the emulator's fault.
func TestEmulatorFault(t *testing.T) {
	const log = `(XEN) d319v0 Triple fault - invoking HVM shutdown action 1
(XEN) *** Dumping Dom319 vcpu#0 state: ***
(XEN) RIP:    e008:[<ffff82d040204505>]
(XEN) ds: 0000   es: 0000   fs: 0000   gs: 0000   ss: 0000   cs: e008
(XEN) d320v0 Triple fault - invoking HVM shutdown action 1
(XEN) *** Dumping Dom320 vcpu#0 state: ***
(XEN) RIP:    0008:[<ffffffff80063000>]
(XEN) ds: 0000   es: 0000   fs: 0000   gs: 0000   ss: 0010   cs: 0008
`
	for id, want := range map[int]bool{319: true, 320: false, 31: false, 321: false} {
		if got := emulatorFault(log, id); got != want {
			t.Errorf("domain %d: %v, want %v", id, got, want)
		}
	}
}
