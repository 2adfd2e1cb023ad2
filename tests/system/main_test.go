// Package system holds the tests of whole systems: real Xen, real guests. One host is booted for all of them; a new
// file with a test that calls host(t) is all that it takes to add one.
package system

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

var (
	boot   sync.Once
	shared *testbed.Host
	booted error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		shared.Close()
	}
	os.Exit(code)
}

// host returns the Xen host that all tests share; Xen's log goes to the report of a test that fails.
func host(t testing.TB) *testbed.Host {
	t.Helper()
	boot.Do(func() { shared, booted = testbed.Start(context.Background(), testbed.Options{}) })
	if booted != nil {
		t.Fatal(booted)
	}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			t.Log(shared.XenLog(ctx))
		}
	})
	return shared
}

// report keeps what a test found out where `make test` prints it from, and in the test's own log.
func report(t testing.TB, name, text string) {
	t.Helper()
	t.Log("\n" + text)
	dir := filepath.Join("..", "..", "build", "reports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".txt"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// within is a context for one step of a test.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// unikernel builds package pkg as an image in the host's share and returns its file.
func unikernel(t testing.TB, h *testbed.Host, pkg string, files ...image.File) string {
	t.Helper()
	p, err := image.BuildProgram(filepath.Join(t.TempDir(), "program"), pkg)
	if err != nil {
		t.Fatal(err)
	}
	return join(t, h, filepath.Base(pkg), p, files...)
}

// join makes an image of a program.
func join(t testing.TB, h *testbed.Host, name string, program []byte, files ...image.File) string {
	t.Helper()
	b, _, err := image.Join(program, image.Options{Name: name, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(h.Share, fmt.Sprintf("%s-%d.elf", name, time.Now().UnixNano()))
	if err := os.WriteFile(f, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return f
}
