package image

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/unikernel/internal/abi"
)

// FuzzParseArchive: damage is an error, and what parses survives being written and parsed again.
func FuzzParseArchive(f *testing.F) {
	for _, files := range [][]File{
		nil,
		{{Name: "/a", Mode: 0o644, Data: []byte("content")}},
		{{Name: "/d", Mode: fs.ModeDir | 0o755}, {Name: "/d/big", Mode: 0o600, Data: make([]byte, 5000)}},
	} {
		b, err := AppendArchive(nil, files)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := ParseArchive(b)
		if err != nil {
			if !errors.Is(err, ErrArchive) {
				t.Fatalf("%v is not ErrArchive", err)
			}
			return
		}
		again, err := AppendArchive(nil, files)
		if errors.Is(err, ErrArchive) {
			return // names that get in each other's way
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			return
		}
		got, err := ParseArchive(again)
		if err != nil {
			t.Fatal(err)
		}
		for i := range files { // a directory has no content that would be kept
			if len(files[i].Data) == 0 {
				files[i].Data = nil
			}
			if len(got[i].Data) == 0 {
				got[i].Data = nil
			}
		}
		if d := cmp.Diff(files, got); d != "" {
			t.Fatal(d)
		}
	})
}

// smallKernel is a kernel of a page with content and one without: the real one is too much to fuzz.
func smallKernel() []byte {
	k := kernel{entry: abi.KernelBase, pages: []kernelPage{
		{vaddr: abi.KernelBase, flags: pageExec, data: make([]byte, abi.Page)},
		{vaddr: abi.KernelBase + abi.Page, flags: pageWrite | pageZero},
	}}
	return k.append(nil)
}

// FuzzParseKernel: damage is an error, and what parses is written as it was.
func FuzzParseKernel(f *testing.F) {
	f.Add(smallKernel())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKernel(b)
		if err != nil {
			if !errors.Is(err, errKernel) {
				t.Fatalf("%v is not errKernel", err)
			}
			return
		}
		if again := k.append(nil); !bytes.HasPrefix(b, again) {
			t.Fatal("the kernel is not written as it was read")
		}
		if _, _, err := JoinKernel(b, goodELF().bytes(), Options{}); err != nil && !errors.Is(err, errKernel) && !errors.Is(err, ErrProgram) {
			t.Fatalf("join: %v", err)
		}
	})
}

func TestCmdlineQuotes(t *testing.T) {
	for want, words := range map[string][]string{
		"":                        nil,
		"a -b=c":                  {"a", "-b=c"},
		`''`:                      {""},
		`'two words'`:             {"two words"},
		`'it'"'"'s' 'back\slash'`: {"it's", `back\slash`},
	} {
		if got := Cmdline(words...); got != want {
			t.Errorf("Cmdline(%q) = %s, want %s", words, got, want)
		}
	}
}
