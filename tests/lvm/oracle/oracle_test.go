package oracle

import (
	"os"
	"strings"
	"testing"
)

func TestOracle(t *testing.T) {
	o := New(t)
	disks := o.Disks(2, 16<<20)
	o.Quiet("vgcreate", "vg0", disks[0].Path, disks[1].Path)
	o.Must("lvcreate", "-an", "-Zn", "-Wn", "-L8M", "-n", "a", "vg0")
	r := o.FullReport()
	if len(r) != 1 || len(r[0]["vg"]) != 1 || len(r[0]["pv"]) != 2 || r[0]["lv"][0]["lv_name"] != "a" {
		t.Errorf("report: %v", r)
	}
	if got := o.Run("lvs", "--foo"); got.Code != 3 || !strings.Contains(got.Stderr, "--foo") {
		t.Errorf("lvs --foo: %+v", got)
	}
	for _, dir := range []string{o.BackupDir(), o.ArchiveDir()} {
		if e, err := os.ReadDir(dir); err != nil || len(e) == 0 {
			t.Errorf("%s: %v, %d entries", dir, err, len(e))
		}
	}
}

// Two oracles do not see each other's disks.
func TestSeparate(t *testing.T) {
	a, b := New(t), New(t)
	da, db := a.Disks(1, 16<<20), b.Disks(1, 16<<20)
	a.Quiet("vgcreate", "vg0", da[0].Path)
	b.Quiet("vgcreate", "vg0", db[0].Path)
	if r := a.FullReport(); len(r) != 1 || r[0]["pv"][0]["pv_name"] != da[0].Path {
		t.Errorf("report: %v", r)
	}
}

func TestDetachAndResize(t *testing.T) {
	o := New(t)
	disks := o.Disks(2, 16<<20)
	o.Quiet("vgcreate", "vg0", disks[0].Path, disks[1].Path)
	if err := disks[0].Resize(32 << 20); err != nil {
		t.Fatal(err)
	}
	o.Quiet("pvresize", disks[0].Path)
	if out := o.Quiet("pvs", "--noheadings", "--nosuffix", "--units=m", "-opv_size", disks[0].Path); strings.TrimSpace(out) != "28.00" {
		t.Errorf("size %q", out)
	}
	o.Detach(disks[1])
	if out := o.Must("vgs", "--noheadings", "-ovg_missing_pv_count"); strings.TrimSpace(out) != "1" {
		t.Errorf("missing %q", out)
	}
}

func TestSectorSize(t *testing.T) {
	o := New(t)
	d := o.DisksOfSector(1, 16<<20, 4096)
	o.Quiet("pvcreate", d[0].Path)
}
