package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"morgana/block"
	"morgana/block/file"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "disk")
	d, err := file.Create(name, 12345, file.WithSectorSize(4096))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != 12345 || d.SectorSize() != 4096 || !d.Plain() || d.Name() != name {
		t.Error(d.Size(), d.SectorSize(), d.Plain(), d.Name())
	}
	if _, err := file.Create(name, 1); !errors.Is(err, fs.ErrExist) {
		t.Error("an existing file was overwritten:", err)
	}
	if _, err := d.WriteAt([]byte("x"), 12344); err != nil {
		t.Error(err)
	}
	r, err := file.OpenReadOnly(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.WriteAt([]byte("y"), 0); !errors.Is(err, block.ErrReadOnly) {
		t.Error(err)
	}
	for _, err := range []error{r.Discard(0, 1), r.WriteZeroes(0, 1), r.WriteVec([][]byte{{1}}, 0)} {
		if !errors.Is(err, block.ErrReadOnly) {
			t.Error(err)
		}
	}
	if err := r.Flush(); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(name); err != nil || st.Size() != 12345 {
		t.Error(st, err)
	}
	for _, bad := range []string{dir, "/dev/null", filepath.Join(dir, "none")} {
		if d, err := file.Open(bad); err == nil {
			d.Close()
			t.Errorf("%s was opened", bad)
		}
	}
	if _, err := file.Open(name, file.WithSectorSize(520)); err == nil {
		t.Error("sectors of 520 bytes were accepted")
	}
}
