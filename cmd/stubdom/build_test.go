package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"morgana/unikernel/image"
)

// TestWarnsOfNewSystemCalls: a program whose runtime asks for a system call that the kernel does not have is told of.
// The number in runtime.osyield is changed, as a future version of Go might.
func TestWarnsOfNewSystemCalls(t *testing.T) {
	program, err := image.BuildProgram(filepath.Join(t.TempDir(), "hello"), "morgana/stubdoms/hello")
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if warn(&said, program); said.Len() > 0 {
		t.Errorf("of today's Go it says %q", &said)
	}
	yield, future := []byte("\xb8\x18\x00\x00\x00\x0f\x05"), []byte("\xb8\xf3\x01\x00\x00\x0f\x05") // mov eax, 24 or 499; syscall
	if n := bytes.Count(program, yield); n != 1 {
		t.Fatalf("runtime.osyield is there %d times", n)
	}
	warn(&said, bytes.Replace(program, yield, future, 1))
	if got := said.String(); !strings.Contains(got, "system calls that the kernel does not have: unknown (499); they get ENOSYS") || strings.Count(got, "\n") != 1 {
		t.Errorf("it says %q", got)
	}
}
