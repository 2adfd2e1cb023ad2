package system

import (
	"context"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// TestForeignPrograms: programs that nobody here wrote, built plainly and stripped, do in a domain what they do on Linux.
// Their versions and checksums are those of foreign/go.mod and foreign/go.sum.
func TestForeignPrograms(t *testing.T) {
	for _, c := range []struct {
		pkg   string
		input string // a file in testdata, carried to /data
		args  []string
	}{
		{"mvdan.cc/gofumpt", "ugly.go.txt", []string{"-extra"}},
		{
			"github.com/itchyny/gojq/cmd/gojq", "domains.json",
			[]string{`[.domains[] | select(.up) | {name, kib: (.memory * 1024)}] | {total: (map(.kib) | add), names: map(.name), line: "\(length) are up"}`},
		},
	} {
		name := path.Base(c.pkg)
		t.Run(name, func(t *testing.T) {
			h := host(t)
			ctx := within(t, 4*time.Minute)
			program := buildForeign(ctx, t, c.pkg)
			input, err := os.ReadFile(filepath.Join("testdata", c.input))
			if err != nil {
				t.Fatal(err)
			}
			want := onLinux(ctx, t, program, c.args, input)
			if want == string(input) || want == "" {
				t.Fatalf("on Linux it did nothing: %q", want)
			}
			b, err := os.ReadFile(program)
			if err != nil {
				t.Fatal(err)
			}
			d, err := h.StartDomain(ctx, testbed.DomainConfig{
				Name: "foreign-" + name, Kernel: join(t, h, name, b, image.File{Name: "/data", Mode: 0o644, Data: input}),
				Cmdline: image.Cmdline(append(c.args, "/data")...), MemoryMiB: 64,
			})
			if err != nil {
				t.Fatal(err)
			}
			reason, err := d.Wait(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Console.String(); got != want || reason != "poweroff" {
				t.Errorf("ended with %s and said\n%s\nwant poweroff and, as on Linux,\n%s", reason, got, want)
			}
		})
	}
}

// buildForeign builds a program of the module in foreign and returns its file.
func buildForeign(ctx context.Context, t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), path.Base(pkg))
	c := exec.CommandContext(ctx, "go", "build", "-C", "foreign", "-ldflags=-s -w", "-o", out, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOWORK=off", "GOFLAGS=-mod=readonly")
	if b, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c, err, b)
	}
	return out
}

// onLinux is what a program writes to standard output here, in a directory that has nothing but the input, as data; it
// must succeed and finds no other programs.
func onLinux(ctx context.Context, t *testing.T, program string, args []string, input []byte) string {
	t.Helper()
	c := exec.CommandContext(ctx, program, append(args[:len(args):len(args)], "data")...)
	c.Dir = t.TempDir()
	c.Env = []string{"HOME=/", "PATH="}
	if err := os.WriteFile(filepath.Join(c.Dir, "data"), input, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v", c, err)
	}
	return string(out)
}
