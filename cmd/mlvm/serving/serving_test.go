package serving

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/block/file"
	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/verbs"
	"morgana/lvm"
)

// mlvm runs mlvm as a program on its own.
func mlvm(t *testing.T, disk string, line string) string {
	t.Helper()
	var out bytes.Buffer
	words := strings.Fields(line)
	s := command.System{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Args: words[1:],
		Getenv: func(name string) string {
			return map[string]string{"MLVM_DEVICES": disk, "MLVM_LOCK_DIR": filepath.Dir(disk), "MLVM_SYSTEM_DIR": filepath.Dir(disk)}[name]
		},
	}
	if code := command.Main(t.Context(), s, verbs.All(), words[0]); code != 0 {
		t.Fatalf("%s: exit code %d\n%s", line, code, &out)
	}
	return out.String()
}

// newDisk is a file with group vg0 and volumes web1 and web2 of 16 MiB.
func newDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 20<<30); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"pvcreate --metadatasize 16m " + disk, "vgcreate vg0 " + disk, "lvcreate -L16m -n web1 vg0", "lvcreate -L16m -n web2 vg0",
	} {
		mlvm(t, disk, line)
	}
	return disk
}

func serve(t *testing.T, disk string) *Volumes {
	t.Helper()
	d, err := file.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	var words bytes.Buffer
	v := New([]lvm.Disk{{Name: "/dev/xvda", Device: d}}, Options{RedoLog: true, Words: &words})
	names, err := v.Start(t.Context())
	if err != nil || fmt.Sprint(names) != "[vg0]" {
		t.Fatal(names, err, &words)
	}
	return v
}

// run runs a command that is to end with a code, and gives all that it said.
func run(t *testing.T, v *Volumes, code int, line string) string {
	t.Helper()
	var out bytes.Buffer
	if got := v.Run(t.Context(), strings.Fields(line), &out, &out); got != code {
		t.Errorf("%s: exit code %d, want %d\n%s", line, got, code, &out)
	}
	return out.String()
}

func TestCommandsWhileVolumesAreServed(t *testing.T) {
	disk := newDisk(t)
	v := serve(t, disk)
	var grown []int64
	web1, err := v.Open(t.Context(), "vg0/web1", false, func(_ context.Context, lv *lvm.LV) error {
		grown = append(grown, lv.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := web1.LV.WriteAt([]byte("kept"), 8<<20); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		line, want string
		code       int
	}{
		{"lvs --noheadings -o lv_name,lv_size", "web1 16.00m\n  web2 16.00m", 0},
		{"lvcreate -L8m -n web3 vg0", "Logical volume \"web3\" created", 0},
		{"lvremove -y vg0/web2", "successfully removed", 0},
		{"lvremove -y vg0/web1", "Logical volume vg0/web1 in use.", 5},
		{"lvreduce -y -L8m vg0/web1", "Logical volume vg0/web1 in use: it can grow", 5},
		{"lvrename vg0 web1 www", "Renamed", 0},
		{"lvextend -L32m vg0/www", "successfully resized", 0},
		{"vgremove -y vg0", "vgremove is not possible while the volumes are served", 5},
		{"pvmove /dev/xvda", "pvmove is not possible while the volumes are served", 5},
		{"nonsense", "No such command", 2},
		{"lvs --devices /etc/passwd", "not possible", 5},
		{"lvs --noheadings -o lv_name", "web3\n  www", 0},
		{"vgs --noheadings -o vg_name,pv_name", "vg0", 0},
		{"sync vg0", "", 0},
	} {
		out := run(t, v, c.code, c.line)
		flat := strings.Join(strings.Fields(out), " ")
		if !strings.Contains(flat, strings.Join(strings.Fields(c.want), " ")) {
			t.Errorf("%s says\n%swant %q", c.line, out, c.want)
		}
	}
	if fmt.Sprint(grown) != "[33554432]" {
		t.Errorf("web1 grew to %v", grown)
	}
	web1.Close()
	run(t, v, 0, "lvreduce -y -L8m vg0/www")

	if _, err := v.Open(t.Context(), "vg0/web2", false, nil); err == nil {
		t.Error("a volume that was removed was opened")
	}
	for _, bad := range []string{"", "vg0", "vg0/", "/web1", "vg0/a/b", "vg9/web1"} {
		if _, err := v.Open(t.Context(), bad, false, nil); err == nil {
			t.Errorf("%q was opened", bad)
		}
	}
	if err := v.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out := mlvm(t, disk, "lvs --noheadings -o lv_name,lv_size"); strings.Join(strings.Fields(out), " ") != "web3 8.00m www 8.00m" {
		t.Errorf("afterwards there is\n%s", out)
	}
}

// The domain dies without Close: what commands answered is there.
func TestKilled(t *testing.T) {
	disk := newDisk(t)
	v := serve(t, disk)
	run(t, v, 0, "lvcreate -L8m -n web3 vg0")
	run(t, v, 0, "lvextend -L32m vg0/web1")
	v = serve(t, disk)
	out := run(t, v, 0, "lvs --noheadings -o lv_name,lv_size")
	if strings.Join(strings.Fields(out), " ") != "web1 32.00m web2 16.00m web3 8.00m" {
		t.Errorf("after the kill there is\n%s", out)
	}
}

// Devices of this machine are locked as mlvm's commands lock them: nobody changes the group while it is served.
func TestDevicesAreLocked(t *testing.T) {
	disk := newDisk(t)
	t.Setenv("MLVM_LOCK_DIR", filepath.Dir(disk))
	v := New(nil, Options{Devices: []string{disk}})
	if names, err := v.Start(t.Context()); err != nil || fmt.Sprint(names) != "[vg0]" {
		t.Fatal(names, err)
	}
	x, err := v.Open(t.Context(), "vg0/web1", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.LV.WriteAt([]byte("here"), 0); err != nil {
		t.Fatal(err)
	}
	run(t, v, 0, "lvcreate -L8m -n web3 vg0")

	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	s := command.System{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Args: []string{"-L8m", "-n", "web4", "vg0"},
		Getenv: func(name string) string {
			return map[string]string{"MLVM_DEVICES": disk, "MLVM_LOCK_DIR": filepath.Dir(disk), "MLVM_SYSTEM_DIR": filepath.Dir(disk)}[name]
		},
	}
	if code := command.Main(ctx, s, verbs.All(), "lvcreate"); code == 0 {
		t.Errorf("another mlvm changed a group that is served\n%s", &out)
	}
	x.Close()
	if err := v.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out := mlvm(t, disk, "lvs --noheadings -o lv_name"); strings.Join(strings.Fields(out), " ") != "web1 web2 web3" {
		t.Errorf("afterwards there is\n%s", out)
	}
}

// A command takes as long with 2000 volumes as with one.
func TestConstantTime(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 2000 volumes")
	}
	v := serve(t, newDisk(t))
	// The best of many: other programs run, too.
	measure := func(from int) time.Duration {
		best := time.Hour
		for i := range 40 {
			start := time.Now()
			run(t, v, 0, fmt.Sprintf("lvcreate -L4m -n m%d vg0", from+i))
			best = min(best, time.Since(start))
		}
		return best
	}
	few := measure(0)
	for i := range 2000 {
		run(t, v, 0, fmt.Sprintf("lvcreate -L4m -n v%d vg0", i))
	}
	many := measure(100)
	t.Logf("lvcreate: %v with 42 volumes, %v with 2042: ratio %.2f", few, many, float64(many)/float64(few))
	if many > few*5/4+50*time.Microsecond {
		t.Errorf("lvcreate takes %v with few volumes and %v with 2000", few, many)
	}
}
