package gpt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"morgana/block"
	"morgana/block/file"
)

// table is a disk that sfdisk has partitioned.
func table(t testing.TB) *file.Device {
	t.Helper()
	const sfdisk = "/usr/sbin/sfdisk"
	if _, err := os.Stat(sfdisk); err != nil {
		t.Fatal("sfdisk is missing; it is in Debian's fdisk")
	}
	d, err := file.Create(filepath.Join(t.TempDir(), "d"), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	c := exec.Command(sfdisk, d.Name())
	c.Stdin = strings.NewReader("label: gpt\nstart=2048, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=\"größe\"\nstart=16384, type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return d
}

func TestRead(t *testing.T) {
	d := table(t)
	check := func(what string) {
		t.Helper()
		parts, err := Read(d)
		if err != nil || len(parts) != 2 {
			t.Fatalf("%s: %+v, %v", what, parts, err)
		}
		if p := parts[0]; p.Number != 1 || p.Start != 1<<20 || p.Size != 4<<20 || p.Name != "größe" || p.Type == LVM {
			t.Errorf("%s: %+v", what, p)
		}
		if p := parts[1]; p.Number != 2 || p.Start != 8<<20 || p.Type != LVM || fmt.Sprint(p.Type) != "E6D6D379-F507-44C2-A23C-238F2A3DF928" {
			t.Errorf("%s: %+v", what, p)
		}
	}
	check("as it is")
	if _, err := d.WriteAt([]byte{1}, 1024+200); err != nil { // an entry
		t.Fatal(err)
	}
	check("from the copy")
	if _, err := d.WriteAt([]byte{1}, d.Size()-512+40); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(d); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("both are damaged: %v", err)
	}
	if _, err := Read(block.NewMem(1<<20, 512)); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// Whatever a table says, Read returns partitions that lie on the disk or an error.
func FuzzRead(f *testing.F) {
	d := table(f)
	head := make([]byte, 34*512)
	if _, err := d.ReadAt(head, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(head)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, head []byte) {
		m := block.NewMem(64<<20, 512)
		if _, err := m.WriteAt(head[:min(len(head), 64<<20)], 0); err != nil {
			t.Fatal(err)
		}
		parts, err := Read(m)
		if err != nil {
			return
		}
		for _, p := range parts {
			if _, err := block.Sub(m, p.Start, p.Size); err != nil {
				t.Errorf("%+v: %v", p, err)
			}
		}
	})
}
