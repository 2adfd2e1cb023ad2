package redolog

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/tests/lvm/oracle"
)

// rig is lvm2 and mlvm on the same disks.
type rig struct {
	t     *testing.T
	o     *oracle.Oracle
	disks []oracle.Disk
	mlvm  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("runs lvm2 many times")
	}
	r := &rig{t: t, o: oracle.New(t), mlvm: filepath.Join(t.TempDir(), "mlvm")}
	c := exec.Command("go", "build", "-o", r.mlvm, "morgana/cmd/mlvm")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	r.disks = r.o.Disks(4, 16<<20)
	return r
}

func (r *rig) command(args ...string) *exec.Cmd {
	var names []string
	for _, d := range r.disks {
		names = append(names, d.Path)
	}
	c := exec.Command(r.mlvm, args...)
	c.Env = append(append(os.Environ(), r.o.Env()...), "MLVM_DEVICES="+strings.Join(names, ","), "MLVM_LOCK_DIR="+r.o.LockDir(), "MLVM_SYSTEM_DIR="+r.t.TempDir())
	return c
}

// ours runs mlvm, which must succeed.
func (r *rig) ours(args ...string) string {
	r.t.Helper()
	out, err := r.command(args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("mlvm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sums are the checksums of all disks.
func (r *rig) sums() string {
	r.t.Helper()
	var out []string
	for _, d := range r.disks {
		if err := d.Flush(); err != nil {
			r.t.Fatal(err)
		}
		f, err := os.Open(d.File)
		if err != nil {
			r.t.Fatal(err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %x", d.Path, h.Sum(nil)[:8]))
	}
	return strings.Join(out, "\n")
}

// pending makes a group with volumes that only the log has. The fourth disk is a physical volume of none, and there is a
// second group on the third.
func (r *rig) pending() {
	r.t.Helper()
	p := func(i int) string { return r.disks[i].Path }
	r.ours("vgcreate", "--redolog", "y", "--redologsize", "1m", "-s", "1m", "vg", p(0), p(1))
	r.ours("vgcreate", "-s", "1m", "other", p(2))
	r.ours("pvcreate", p(3))
	for _, n := range []string{"a", "b", "c"} {
		r.ours("lvcreate", "-an", "-Zn", "-l3", "-n", n, "vg", p(0))
	}
}

// changing are the commands of lvm2 that change or activate. VG, PV0 … stand for names; each must fail.
var changing = []string{
	"lvcreate -an -Zn -Wn -l1 -n new vg",
	"lvcreate -an -Zn -Wn -y -L4m --addtag x vg PV0",
	"lvremove -f vg/a",
	"lvremove -ff -y vg",
	"lvremove -f vg/mlvm_log",
	"lvextend -n -l+1 vg/a",
	"lvreduce -f -n -l-1 vg/a",
	"lvresize -f -n -l5 vg/a",
	"lvrename vg a z",
	"lvrename vg/a vg/z",
	"lvchange --addtag x vg/a",
	"lvchange -pr vg/a",
	"lvchange -Cy vg/a",
	"lvchange --setautoactivation n vg/a",
	"lvchange -ay vg/a",
	"lvchange -aay vg/a",
	"lvchange -K -ay vg",
	"lvchange --sysinit -ay vg",
	"lvchange --refresh vg/a",
	"lvconvert -y --type mirror -m1 vg/a",
	"lvconvert -y --type thin-pool vg/a",
	"lvconvert --repair -y vg/a",
	"vgchange -ay vg",
	"vgchange -aay vg",
	"vgchange --sysinit -ay vg",
	"vgchange -ay --ignorelockingfailure vg",
	"vgchange --refresh vg",
	"vgchange --addtag x vg",
	"vgchange --deltag mlvm.armed vg",
	"vgchange -y --systemid mine vg",
	"vgchange -y --systemid  vg",
	"vgchange -l 7 vg",
	"vgchange -p 7 vg",
	"vgchange -xn vg",
	"vgchange -s 2m vg",
	"vgchange --alloc cling vg",
	"vgchange -u vg",
	"vgchange --vgmetadatacopies 1 vg",
	"vgchange --setautoactivation n vg",
	"vgrename vg w",
	"vgextend vg PV3",
	"vgextend --restoremissing vg PV0",
	"vgreduce vg PV1",
	"vgreduce --removemissing --force vg",
	"vgreduce -a vg",
	"vgsplit vg new PV1",
	"vgsplit other vg PV2",
	"vgmerge vg other",
	"vgmerge other vg",
	"vgexport vg",
	"vgimport vg",
	"vgimport -f vg",
	"vgimportclone -n new PV0 PV1",
	"vgremove vg",
	"vgremove -f vg",
	"vgremove -ff -y vg",
	"vgck --updatemetadata vg",
	"vgmknodes --refresh vg",
	"vgconvert -M2 vg",
	"vgcreate -y new PV0",
	"vgcreate -y vg PV3",
	"vgextend -y other PV0",
	"pvcreate -y PV0",
	"pvcreate -f -y PV0",
	"pvremove -y PV0",
	"pvremove -f -y PV0",
	"pvresize -y --setphysicalvolumesize 15m PV0",
	"pvresize PV0",
	"pvchange -xn PV0",
	"pvchange --addtag x PV0",
	"pvchange -u PV0",
	"pvchange --metadataignore y PV0",
	"pvmove PV0 PV1",
	"pvmove -n a PV0",
	"pvmove --abort PV0",
}

// Some commands find nothing to do and say so with success: they need not fail, but must change nothing all the same.
var idle = map[string]bool{
	"pvmove --abort PV0": true, "vgmknodes --refresh vg": true, "vgreduce -a vg": true,
	"vgchange --refresh vg": true, // of what is active: nothing, and nothing can become so
}

// While changes are pending, every command of lvm2 that would change or activate something is refused and no byte
// changes; even where the administrator told lvm2 that it is the system that we invented.
func TestLVM2KeepsOff(t *testing.T) {
	r := newRig(t)
	r.pending()
	id := strings.TrimSpace(r.o.Must("vgs", "--foreign", "--noheadings", "-o", "systemid", "vg"))
	if !strings.HasPrefix(id, "mlvm.") {
		t.Fatalf("system id %q", id)
	}
	before := r.sums()
	refused := 0
	for _, line := range changing {
		for _, config := range []string{
			"", `global/system_id_source="lvmlocal" local{system_id="host" extra_system_ids=["` + id + `"]}`,
			`global/system_id_source="lvmlocal" local/system_id="` + id + `"`,
		} {
			args := strings.Split(line, " ")
			for i, a := range args {
				if n, ok := strings.CutPrefix(a, "PV"); ok && len(n) == 1 {
					args[i] = r.disks[n[0]-'0'].Path
				}
			}
			if config != "" {
				args = append(args, "--config", config)
			}
			res := r.o.Run(args...)
			if res.Code == 0 && !idle[line] {
				t.Errorf("lvm %s: not refused\n%s%s", strings.Join(args, " "), res.Stdout, res.Stderr)
			}
			if after := r.sums(); after != before {
				t.Fatalf("lvm %s: wrote\n%s", strings.Join(args, " "), cmp.Diff(before, after))
			}
			refused++
		}
	}
	// Commands about all groups pass this one over, silently.
	for _, line := range []string{"vgchange -ay", "vgchange -aay", "vgscan --mknodes", "pvscan --cache -aay", "vgck", "vgs", "lvs"} {
		r.o.Run(strings.Fields(line)...)
		if after := r.sums(); after != before {
			t.Fatalf("lvm %s: wrote\n%s", line, cmp.Diff(before, after))
		}
	}
	t.Logf("%d commands of lvm2 refused, no byte changed", refused)
	// It can look at it, as it was at the last fold.
	if out := r.o.Must("lvs", "--foreign", "--noheadings", "-o", "name", "vg"); strings.TrimSpace(out) != "a" {
		t.Errorf("lvs --foreign: %q", out)
	}
	r.ours("sync", "vg")
	r.agree("a", "b", "c")
	if r := r.o.Run("lvcreate", "-an", "-Zn", "-Wn", "-l1", "-n", "theirs", "vg"); r.Code != 0 {
		t.Errorf("lvm2 may not change the group after sync: %s", r.Stderr)
	}
	r.agree("a", "b", "c", "theirs")
}

// agree checks that lvm2 has exactly these volumes, complains of nothing, and reports what mlvm reports.
func (r *rig) agree(want ...string) {
	r.t.Helper()
	r.o.Quiet("vgck", "vg")
	fields := "lv_name,lv_uuid,lv_size,lv_tags,seg_pe_ranges,vg_seqno,vg_free_count,vg_tags,vg_systemid,vg_attr"
	args := []string{"lvs", "-a", "--noheadings", "--separator", ",", "--units", "s", "-o", fields, "-O", "lv_name,seg_start", "vg"}
	theirs := r.o.Quiet(args...)
	if d := cmp.Diff(theirs, r.ours(args...)); d != "" {
		r.t.Fatalf("-lvm2 +mlvm\n%s", d)
	}
	var got []string
	for line := range strings.Lines(theirs) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), ","); !strings.HasPrefix(name, "[") {
			got = append(got, name)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		r.t.Fatalf("volumes (-want +got)\n%s", d)
	}
}

// A program is killed while it has a group open with changes that only the log has. Nothing is lost.
func TestKilled(t *testing.T) {
	r := newRig(t)
	r.ours("vgcreate", "--redolog", "y", "--redologsize", "1m", "-s", "1m", "vg", r.disks[0].Path, r.disks[1].Path)
	var want []string
	for round := range 3 {
		c := r.command("shell")
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i := range 7 {
			name := fmt.Sprintf("v%d-%d", round, i)
			fmt.Fprintf(in, "lvcreate -an -Zn -l1 -n %s vg\n", name)
			if !lines.Scan() || !strings.Contains(lines.Text(), name) {
				t.Fatalf("lvcreate %s: %q", name, lines.Text())
			}
			want = append(want, name)
		}
		// It said that it has made them.
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		if got := r.o.Run("lvcreate", "-an", "-Zn", "-Wn", "-l1", "vg"); got.Code == 0 {
			t.Fatal("lvm2 changed a group with pending changes")
		}
		if round == 1 {
			continue // the next one goes on where this was killed
		}
		r.ours("sync", "vg")
		r.agree(want...)
	}
}

// lvm2 restores a backup over pending changes, which nothing can keep it from. Then nothing is mixed up: mlvm tells, and
// goes on only when told which counts.
func TestRestoredOver(t *testing.T) {
	r := newRig(t)
	p := r.disks[0].Path
	r.ours("vgcreate", "--redolog", "y", "--redologsize", "1m", "-s", "1m", "vg", p)
	r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "old", "vg")
	r.ours("sync")
	file := filepath.Join(t.TempDir(), "backup")
	r.o.Must("vgcfgbackup", "-f", file, "vg")
	// Not armed, all in the text: a restored backup is everybody's right, and no reason to complain.
	r.o.Must("vgcfgrestore", "-f", file, "vg")
	r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "new", "vg")
	r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "newer", "vg")
	if res := r.o.Run("vgcfgrestore", "-f", file, "vg"); res.Code != 0 {
		t.Fatalf("this lvm2 does not restore over a foreign group: %s", res.Stderr)
	}
	r.o.Quiet("vgck", "vg")
	out, err := r.command("lvcreate", "-an", "-Zn", "-l1", "-n", "x", "vg").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "mlvm log discard vg") {
		t.Fatalf("lvcreate: %v\n%s", err, out)
	}
	show, _ := r.command("log", "show", "vg").CombinedOutput()
	if !strings.Contains(string(show), "newer is 1 extents") {
		t.Errorf("log show: %s", show)
	}
	if out := r.ours("log", "export", "vg"); !strings.Contains(out, "newer") {
		t.Errorf("log export: %s", out)
	}
	r.ours("log", "discard", "-y", "vg")
	r.agree("old")
	r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "x", "vg")
	r.ours("sync")
	r.agree("old", "x")
}

// A log on two disks: the group survives either.
func TestReplicasAndDowngrade(t *testing.T) {
	r := newRig(t)
	r.o.Must("pvcreate", r.disks[0].Path, r.disks[1].Path)
	r.o.Must("vgcreate", "-s", "1m", "vg", r.disks[0].Path, r.disks[1].Path)
	r.o.Must("lvcreate", "-an", "-Zn", "-Wn", "-l1", "-n", "theirs", "vg")
	r.ours("vgchange", "--redolog", "y", "--redologsize", "1m", "--redologcopies", "2", "vg")
	r.agree("theirs")
	// Disarmed it is lvm2's to change, log or no log.
	r.o.Must("lvrename", "vg", "theirs", "still-theirs")
	r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "a", "vg")
	r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "b", "vg")
	r.ours("sync")
	r.agree("a", "b", "still-theirs")
	r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "c", "vg")
	r.ours("lvremove", "-f", "vg/a")
	r.ours("vgchange", "--redolog", "n", "vg")
	r.agree("b", "c", "still-theirs")
	if out := r.o.Must("lvs", "-a", "--noheadings", "-o", "name", "vg"); strings.Contains(out, "mlvm_log") {
		t.Errorf("the log is still there: %s", out)
	}
}

// Whatever is done to a group with pending changes takes them along, and LVM2 finds it in order.
func TestOtherChangesWhileArmed(t *testing.T) {
	for _, c := range []struct {
		line string
		name string // of the group afterwards
	}{
		{"vgextend vg PV3", "vg"},
		{"vgreduce vg PV1", "vg"},
		{"vgrename vg vg2", "vg2"},
		{"vgchange --addtag x vg", "vg"},
		{"vgchange -u vg", "vg"},
		{"vgsplit vg split PV1", "vg"},
		{"vgmerge vg other", "vg"},
		{"vgmerge other vg", "other"},
		{"pvmove PV0 PV1", "vg"},
		{"pvmove -n a PV0 PV1", "vg"},
		{"pvchange --addtag x PV0", "vg"},
		{"pvresize PV0", "vg"},
		{"vgck --updatemetadata vg", "vg"},
		{"pvchange --metadataignore y PV1", "vg"},
	} {
		t.Run(c.line, func(t *testing.T) {
			r := newRig(t)
			r.pending()
			args := strings.Split(c.line, " ")
			for i, a := range args {
				if n, ok := strings.CutPrefix(a, "PV"); ok && len(n) == 1 {
					args[i] = r.disks[n[0]-'0'].Path
				}
			}
			r.ours(args...)
			check := func(want string) {
				t.Helper()
				r.ours("sync")
				r.o.Quiet("vgck", c.name)
				out := r.o.Quiet("lvs", "--noheadings", "-o", "name", "-O", "name", c.name)
				if got := strings.Join(strings.Fields(out), " "); got != want {
					t.Fatalf("volumes %q, want %q", got, want)
				}
			}
			check("a b c")
			// And the log goes on.
			r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "d", c.name)
			r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "e", c.name)
			check("a b c d e")
		})
	}
}
