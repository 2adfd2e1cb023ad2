package backup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/lvm/metadata"
)

const sample = `contents = "Text Format Volume Group"
version = 1

vg0 {
	id = "TTTTTT-TTTT-TTTT-TTTT-TTTT-TTTT-TTTTTT"
	seqno = 7
	format = "lvm2"
	status = ["RESIZEABLE", "READ", "WRITE"]
	flags = []
	extent_size = 8192
	max_lv = 0
	max_pv = 0
	metadata_copies = 0

	physical_volumes {

		pv0 {
			id = "pppppp-pppp-pppp-pppp-pppp-pppp-pppppp"
			device = "/dev/sda"

			status = ["ALLOCATABLE"]
			flags = []
			dev_size = 262144
			pe_start = 2048
			pe_count = 31
		}
	}
}
`

func group(t *testing.T) *metadata.VG {
	t.Helper()
	vg, err := metadata.Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

func store(t *testing.T) Store {
	t.Helper()
	dir := t.TempDir()
	return Dirs(func(name string) string {
		if name == "MLVM_SYSTEM_DIR" {
			return dir
		}
		return ""
	})
}

var stamp = metadata.Stamp{Generator: "test", Host: "host", Time: 1700000000}

func TestBackup(t *testing.T) {
	s, vg := store(t), group(t)
	for _, command := range []string{"lvcreate -l1 vg0", "lvremove vg0/lvol0"} {
		if err := s.Backup(vg, command, stamp); err != nil {
			t.Fatal(err)
		}
		f := Describe(filepath.Join(s.BackupDir, "vg0"))
		if want := "Created *after* executing '" + command + "'"; f.Err != nil || f.Group != "vg0" || f.Description != want || f.Time.Unix() != stamp.Time {
			t.Errorf("%+v, want %q", f, want)
		}
	}
	back, err := s.Read("vg0", "")
	if err != nil || back.ID() != vg.ID() || back.Seqno() != vg.Seqno() || len(back.PVs()) != 1 {
		t.Errorf("%+v %v", back, err)
	}
	entries, err := os.ReadDir(s.BackupDir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v: something else was left", entries, err)
	}
	for range 2 { // the second time it is gone already
		if err := s.Remove("vg0"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Read("vg0", ""); err == nil {
		t.Error("read what was removed")
	}
}

// Ten archives stay, older ones only for thirty days.
func TestArchives(t *testing.T) {
	s, vg := store(t), group(t)
	other := strings.Replace(sample, "vg0 {", "vg0_1 {", 1)
	if second, err := metadata.Parse([]byte(other)); err != nil {
		t.Fatal(err)
	} else if err := s.Archive(second, "first", stamp); err != nil {
		t.Fatal(err)
	}
	for i := range 15 {
		if err := s.Archive(vg, fmt.Sprint("command ", i), stamp); err != nil {
			t.Fatal(err)
		}
	}
	files, err := s.List("vg0")
	if err != nil || len(files) != 15 {
		t.Fatalf("%d files %v: recent archives stay", len(files), err)
	}
	for i, f := range files {
		if want := fmt.Sprintf("Created *before* executing 'command %d'", i); f.Description != want || f.Group != "vg0" {
			t.Errorf("%d: %+v", i, f)
		}
		if name := filepath.Base(f.Path); !strings.HasPrefix(name, fmt.Sprintf("vg0_%05d-", i)) {
			t.Error(name)
		}
	}
	s.Now = func() time.Time { return time.Now().AddDate(0, 0, retainDays+1) }
	if err := s.Archive(vg, "command 15", stamp); err != nil {
		t.Fatal(err)
	}
	files, err = s.List("vg0")
	if err != nil || len(files) != retainMin || files[0].Description != "Created *before* executing 'command 6'" {
		t.Errorf("%d files %v, the first %+v", len(files), err, files[0])
	}
	if files, err := s.List("vg0_1"); err != nil || len(files) != 1 {
		t.Errorf("of the other group %v %v", files, err)
	}
}

func TestWithoutPlace(t *testing.T) {
	s := Store{Now: time.Now}
	vg := group(t)
	if err := s.Backup(vg, "", stamp); err != nil {
		t.Error(err)
	}
	if err := s.Archive(vg, "", stamp); err != nil {
		t.Error(err)
	}
	if err := s.Remove("vg0"); err != nil {
		t.Error(err)
	}
	if files, err := s.List("vg0"); err != nil || files != nil {
		t.Error(files, err)
	}
	if _, err := s.Read("vg0", ""); err == nil {
		t.Error("read from nowhere")
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("vg0 {"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := Describe(bad); f.Err == nil {
		t.Errorf("%+v", f)
	}
	if _, err := s.Read("vg0", bad); err == nil || !strings.Contains(err.Error(), bad) {
		t.Error(err)
	}
}
