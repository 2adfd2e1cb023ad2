package image

import (
	"bytes"
	"debug/elf"
	"path/filepath"
	"testing"
)

// trapCommon steps over the HLT of idle, and knows it as the second byte of the function.
func TestIdleIsWhatTheTrapExpects(t *testing.T) {
	b, err := BuildKernel(filepath.Join(t.TempDir(), "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != "main.idle.abi0" && s.Name != "main.idle" {
			continue
		}
		for _, p := range f.Progs {
			if s.Value < p.Vaddr || s.Value >= p.Vaddr+p.Filesz {
				continue
			}
			code := make([]byte, 4)
			if _, err := p.ReadAt(code, int64(s.Value-p.Vaddr)); err != nil {
				t.Fatal(err)
			}
			if want := []byte{0xfb, 0xf4, 0xfa, 0xc3}; bytes.Equal(code, want) { // sti; hlt; cli; ret
				return
			}
		}
	}
	t.Error("no function idle that is sti; hlt; cli; ret")
}
