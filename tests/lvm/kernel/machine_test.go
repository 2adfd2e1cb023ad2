package kernel

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/tests/testbed"
)

// lvmConf keeps lvm2 from asking udev, which does not run, and from programs that are not installed.
const lvmConf = `devices {
	filter = ["a|^/dev/vd[b-z]|", "r|.*|"]
	use_devicesfile = 0
	obtain_device_list_from_udev = 0
	external_device_info_source = "none"
	hints = "none"
}
global {
	system_id_source = "none"
	use_lvmpolld = 0
	event_activation = 0
	thin_check_executable = ""
	thin_repair_executable = ""
	cache_check_executable = ""
}
activation { udev_sync = 0 udev_rules = 0 verify_udev_operations = 0 monitoring = 0 }
`

const diskSize = 64 << 20

// A machine is a booted kernel with disks that are files here.
type machine struct {
	host  *testbed.Host
	dir   string   // here, with mlvm in it; /share there
	disks []string // files here: /dev/vdb, /dev/vdc, … there
}

// boot boots a kernel with n empty disks and further images.
func boot(t *testing.T, linux bool, n int, images ...string) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a kernel")
	}
	m := &machine{dir: t.TempDir()}
	for i := range n {
		name := filepath.Join(m.dir, fmt.Sprintf("d%d", i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, diskSize); err != nil {
			t.Fatal(err)
		}
		m.disks = append(m.disks, name)
	}
	m.disks = append(m.disks, images...)
	build(t, m.dir, "morgana/cmd/mlvm", "morgana/tests/lvm/kernel/list")
	o := testbed.Options{Linux: linux, Emulated: !linux, Disks: m.disks, Share: m.dir, Progress: testWriter{t}}
	if linux {
		o.MemoryMiB, o.CPUs = 1024, 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var err error
	if m.host, err = testbed.Start(ctx, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.host.Close() })
	if err := os.WriteFile(filepath.Join(m.dir, "lvm.conf"), []byte(lvmConf), 0o600); err != nil {
		t.Fatal(err)
	}
	m.guest(t, "cp /share/lvm.conf /etc/lvm/lvm.conf; modprobe -a dm-mod dm-snapshot dm-raid dm-thin-pool dm-cache dm-cache-smq vfat nls_cp437 nls_ascii nls_iso8859-1 ext4 || true")
	return m
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// build builds programs of the project into a directory.
func build(t *testing.T, dir string, packages ...string) {
	t.Helper()
	c := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// guest runs a script in the machine and returns its standard output; each command must succeed.
func (m *machine) guest(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code, err := m.host.Command(ctx, nil, &out, &errs, "bash", "-ec", "export PATH=/share:$PATH LVM_SUPPRESS_FD_WARNINGS=1\n"+script)
	if err != nil || code != 0 {
		t.Fatalf("in the guest: exit %d, %v\n%s\n%s%s", code, err, script, out.String(), errs.String())
	}
	return out.String()
}

// devices are the disks' names in the guest, for --devices.
func (m *machine) devices() string {
	var names []string
	for i := range m.disks {
		names = append(names, fmt.Sprintf("/dev/vd%c", 'b'+i))
	}
	return strings.Join(names, ",")
}

// forget makes the guest read the disks anew: mlvm has written to the files meanwhile.
func (m *machine) forget(t *testing.T) {
	t.Helper()
	var b strings.Builder
	for i := range m.disks {
		fmt.Fprintf(&b, "blockdev --flushbufs /dev/vd%c\n", 'b'+i)
	}
	m.guest(t, b.String())
}

// mlvm runs it here, on the first n disks, and returns its standard output.
func (m *machine) mlvm(t *testing.T, n int, args ...string) string {
	t.Helper()
	return mlvm(t, m.dir, m.disks[:n], args...)
}

func mlvm(t *testing.T, dir string, disks []string, args ...string) string {
	t.Helper()
	c := exec.Command(filepath.Join(dir, "mlvm"), args...)
	c.Env = environment(t, disks)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("mlvm %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

var places sync.Map // test: its directory for locks and backups

func environment(t *testing.T, disks []string) []string {
	place, ok := places.Load(t.Name())
	if !ok {
		place, _ = places.LoadOrStore(t.Name(), t.TempDir())
	}
	return append(os.Environ(), "MLVM_DEVICES="+strings.Join(disks, ","), "MLVM_LOCK_DIR="+place.(string), "MLVM_SYSTEM_DIR="+place.(string))
}

// serve runs mlvm nbd here and returns its socket and a function that ends it.
func (m *machine) serve(t *testing.T, n int, args ...string) (socket string, end func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	c := exec.Command(filepath.Join(m.dir, "mlvm"), append([]string{"nbd", "--socket", socket}, args...)...)
	c.Env = environment(t, m.disks[:n])
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		c.Wait()
		t.Fatalf("mlvm nbd: %v\n%s", err, errs.String())
	}
	return socket, func() {
		t.Helper()
		c.Process.Signal(os.Interrupt)
		io.Copy(io.Discard, out)
		if err := c.Wait(); err != nil {
			t.Errorf("mlvm nbd: %v\n%s", err, errs.String())
		}
	}
}

func uri(socket, export string) string { return "nbd+unix:///" + export + "?socket=" + socket }

// peer runs a program here.
func peer(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing; Debian's libnbd-bin and qemu-utils have the peers", name)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func sumFile(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
