package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"morgana/block/file"
	"morgana/tests/lvm/oracle"
)

// cost is what one command took.
type cost struct {
	wall, cpu time.Duration
	written   int64 // bytes that reached the disk
}

// median takes the middle of each figure.
func median(cs []cost) cost {
	pick := func(less func(a, b cost) int) cost {
		s := slices.Clone(cs)
		slices.SortFunc(s, less)
		return s[len(s)/2]
	}
	return cost{
		wall:    pick(func(a, b cost) int { return int(a.wall - b.wall) }).wall,
		cpu:     pick(func(a, b cost) int { return int(a.cpu - b.cpu) }).cpu,
		written: pick(func(a, b cost) int { return int(a.written - b.written) }).written,
	}
}

// rig is a group with many volumes, lvm2 and mlvm.
type rig struct {
	t    testing.TB
	o    *oracle.Oracle
	disk oracle.Disk
	mlvm string // the program
}

// buildProgram builds mlvm once for all rigs.
func buildProgram(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mlvm")
	c := exec.Command("go", "build", "-o", path, "morgana/cmd/mlvm")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// newRig makes a group "vg" of n volumes of one extent each, by restoring a text: making them one by one would take
// lvm2 an hour.
func newRig(t testing.TB, mlvm string, n int) *rig {
	t.Helper()
	o := oracle.New(t)
	r := &rig{t: t, o: o, mlvm: mlvm, disk: o.Disks(1, 4<<30)[0]}
	o.Must("pvcreate", "--metadatasize", "32m", r.disk.Path)
	o.Must("vgcreate", "-s", "128k", "vg", r.disk.Path)
	file := filepath.Join(t.TempDir(), "vg.txt")
	o.Must("vgcfgbackup", "-f", file, "vg")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndexByte(b, '}')
	var text bytes.Buffer
	text.Write(b[:end])
	text.WriteString("\tlogical_volumes {\n")
	for i := range n {
		fmt.Fprintf(&text, `
		lv%d {
			id = "%s"
			status = ["READ", "WRITE", "VISIBLE"]
			flags = []
			creation_time = 1700000000
			creation_host = "localhost"
			segment_count = 1

			segment1 {
				start_extent = 0
				extent_count = 1

				type = "striped"
				stripe_count = 1

				stripes = [
					"pv0", %d
				]
			}
		}
`, i, uuid(i), i)
	}
	text.WriteString("\t}\n")
	text.Write(b[end:])
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Must("vgcfgrestore", "-f", file, "vg")
	o.Quiet("vgck", "vg")
	return r
}

// uuid returns a uuid that is the same for the same number.
func uuid(i int) string {
	s := fmt.Sprintf("%032d", i)
	return strings.Join([]string{s[:6], s[6:10], s[10:14], s[14:18], s[18:22], s[22:26], s[26:]}, "-")
}

// written is how many bytes the loop device was given to write since it exists.
func (r *rig) written() int64 {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(r.disk.Path), "stat"))
	if err != nil {
		r.t.Fatal(err)
	}
	f := strings.Fields(string(b)) // Documentation/block/stat.rst: the seventh is sectors written
	n, err := strconv.ParseInt(f[6], 10, 64)
	if err != nil {
		r.t.Fatal(err)
	}
	return n * 512
}

// run measures one command, which must succeed.
func (r *rig) run(c *exec.Cmd) cost {
	r.t.Helper()
	before := r.written()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	start := time.Now()
	err := c.Run()
	took := cost{wall: time.Since(start)}
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", strings.Join(c.Args, " "), err, out.String())
	}
	took.written = r.written() - before
	u := c.ProcessState.SysUsage().(*syscall.Rusage)
	took.cpu = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return took
}

func (r *rig) lvm2(args ...string) cost {
	r.t.Helper()
	c := exec.Command("lvm", args...)
	c.Env = append(os.Environ(), r.o.Env()...)
	return r.run(c)
}

// environment makes mlvm a neighbour of the rig's lvm2, and of no other.
func (r *rig) environment() []string {
	return append(append(os.Environ(), r.o.Env()...), "MLVM_LOCK_DIR="+r.o.LockDir(), "MLVM_SYSTEM_DIR="+r.o.SystemDir())
}

func (r *rig) ours(args ...string) cost {
	r.t.Helper()
	c := exec.Command(r.mlvm, append([]string{"--devices", r.disk.Path}, args...)...)
	c.Env = r.environment()
	return r.run(c)
}

// newFile makes an empty file of size bytes and opens it as a disk.
func newFile(t testing.TB, path string, size int64) *file.Device {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}
