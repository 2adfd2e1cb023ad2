package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGeneratedFilesAreFresh(t *testing.T) {
	code, doc, err := generate("../../kernel/syscall.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"../syscalls_generated.go": code, "../../../docs/syscalls.md": doc} {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is older than unikernel/kernel/syscall.go; run go generate ./unikernel/image", filepath.Clean(name))
		}
	}
}

func TestCasesRefuseWhatTheyCannotRead(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"no switch", "package main\nfunc dispatch() {}\n", "has no switch"},
		{"no function", "package main\n", "has no switch"},
		{"a name", "package main\nfunc dispatch(nr int) {\n\tswitch nr {\n\tcase read:\n\t}\n}\n", ":4:7: a case that is not a number"},
		{"not Go", "pakcage main\n", "expected 'package'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "syscall.go")
			if err := os.WriteFile(file, []byte(c.source), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := cases(file, "dispatch"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}
