package lvm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/tests/lvm/oracle"
)

// nobody runs mlvm as an ordinary user, in a folder of his own.
func nobody(t *testing.T, dir string) mlvm {
	t.Helper()
	const id = 65534
	for p := dir; p != "/" && p != "/tmp"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, id, id); err != nil {
		t.Fatal(err)
	}
	return mlvm{
		t: t, dir: dir, user: &syscall.Credential{Uid: id, Gid: id},
		env: []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir + "/run", "MLVM_DEVICES=", "LC_ALL=C", "TZ=UTC"},
	}
}

// TestOrdinaryUser makes a group with five volumes on files, without root; then lvm2 finds nothing to complain about on
// the same files, and both report the same of them.
func TestOrdinaryUser(t *testing.T) {
	o := oracle.New(t)
	dir := t.TempDir()
	m := nobody(t, dir)
	files := []string{"a.img", "b.img", "c.img"}
	for _, f := range files {
		name := filepath.Join(dir, f)
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, 128<<20); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(name, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	out := m.must(append([]string{"vgcreate", "vg0"}, files...)...)
	const want = `  Physical volume "a.img" successfully created.
  Physical volume "b.img" successfully created.
  Physical volume "c.img" successfully created.
  Volume group "vg0" successfully created
`
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	m.env = append(m.env, "MLVM_DEVICES="+strings.Join(files, ","))
	m.must("lvcreate", "-L", "40M", "-n", "linear", "vg0")
	m.must("lvcreate", "-i2", "-I", "64k", "-L", "32M", "-n", "striped", "vg0")
	m.must("lvcreate", "-l", "50%FREE", "-n", "half", "vg0")
	m.must("lvcreate", "-l", "10%VG", "-n", "tenth", "vg0")
	m.must("lvcreate", "-L", "8M", "--addtag", "db", "--addtag", "fast", "-n", "tagged", "vg0", "b.img:25-")
	for _, p := range []string{"run/mlvm", ".local/state/mlvm/backup/vg0"} {
		if _, err := os.Stat(filepath.Join(dir, p)); err != nil {
			t.Errorf("in the user's own folders: %v", err)
		}
	}

	var paths []string
	for _, f := range files {
		paths = append(paths, filepath.Join(dir, f))
	}
	disks := o.Attach(paths...)
	o.Quiet("vgck")
	o.Quiet("vgck", "vg0")
	same(t, o, beside(o, disks...))
}

// complaintless leaves out what this version of lvm2 says of itself when it meets volumes of type zero and error.
func complaintless(r oracle.Result) oracle.Result {
	r.Stderr = regexp.MustCompile(`(?m)^  Internal error: WARNING: Failed to properly detect layout.*\n`).ReplaceAllString(r.Stderr, "")
	return r
}

// same compares the full reports of lvm2 and mlvm of the same disks, field by field.
func same(t *testing.T, o *oracle.Oracle, m mlvm) {
	t.Helper()
	for _, args := range [][]string{
		{"fullreport", "--reportformat", "json"},
		{"fullreport", "--reportformat", "json", "--units", "b"},
		{"pvs", "-a", "-o", "pv_all,vg_all,pvseg_all,lv_all,seg_all", "--reportformat", "json"},
		{"lvs", "-a", "-o", "all,seg_all", "--reportformat", "json"},
	} {
		theirs := complaintless(o.Run(args...))
		ours := m.run(args...)
		if theirs.Code != 0 || theirs.Stderr != "" {
			t.Fatalf("lvm2 %v: %d %s", args, theirs.Code, theirs.Stderr)
		}
		if ours.Code != 0 || ours.Stderr != "" {
			t.Fatalf("mlvm %v: %d %s", args, ours.Code, ours.Stderr)
		}
		if d := cmp.Diff(o.Parse(theirs.Stdout), o.Parse(ours.Stdout)); d != "" {
			t.Fatalf("%v (-lvm2 +mlvm):\n%s", args, d)
		}
	}
}

// Groups that real lvm2 made under a real kernel, with RAID, thin pools and snapshots, and one with every type of
// segment, read the same.
func TestReportsOfEveryType(t *testing.T) {
	for _, name := range []string{"every-segment-type.txt", "thin-raid-snapshot.txt"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile("../../lvm/text/testdata/" + name)
			if err != nil {
				t.Fatal(err)
			}
			o := oracle.New(t)
			_, disks := o.Restore(b)
			m := beside(o, disks...)
			same(t, o, m)
			for _, args := range [][]string{
				{"lvs"},
				{"lvs", "-a"},
				{"lvs", "-a", "-o+devices,segtype"},
				{"lvs", "--segments", "-a"},
				{"vgs"},
				{"pvs"},
				{"pvs", "--segments", "-o+lv_name"},
				{"vgdisplay"},
				{"pvdisplay", "-m"},
				{"lvs", "-S", "lv_role=origin"},
				{"lvs", "-a", "-S", "lv_layout={raid && raid1}"},
				{"lvs", "-a", "-S", "segtype=thin || lv_attr=~^r", "-O-lv_size"},
			} {
				if d := cmp.Diff(complaintless(o.Run(args...)), m.run(args...)); d != "" {
					t.Errorf("%v (-lvm2 +mlvm):\n%s", args, d)
				}
			}
		})
	}
}

// A link with the name of a verb is that verb.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "lvs")
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(link, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "mlvm") {
		t.Errorf("%v: %s", err, out)
	}
}
