package qemu

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"morgana/unikernel/image"
)

// guest builds the program in testdata/name as an image.
func guest(t *testing.T, name string, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, name)
	c := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, ".")
	c.Dir = filepath.Join("testdata", name)
	c.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS="), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c, err, out)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return join(t, name, b)
}

// join makes an image of a program and returns its file.
func join(t *testing.T, name string, program []byte) string {
	t.Helper()
	img, _, err := image.Join(program, image.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name+".elf")
	if err := os.WriteFile(file, img, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestOlderGo: one kernel runs what older versions of Go build. Their toolchains come through the module proxy.
func TestOlderGo(t *testing.T) {
	for _, version := range []string{"go1.24.13", "go1.25.7"} {
		t.Run(version, func(t *testing.T) {
			out, end, err := Output(within(t, 5*time.Minute), guest(t, "older", "GOTOOLCHAIN="+version), 64)
			if err != nil {
				t.Fatal(err)
			}
			if want := "older: all well with " + version + "\n"; end != PowerOff || !strings.Contains(out, want) {
				t.Errorf("ended with %s and said\n%s\nwant %q", end, out, want)
			}
		})
	}
}

// TestProfiles: a CPU profile of a guest has its samples where the time went, a heap profile its bytes where they were
// allocated.
func TestProfiles(t *testing.T) {
	out, end, err := Output(within(t, 5*time.Minute), guest(t, "profiled"), 96)
	if err != nil {
		t.Fatal(err)
	}
	if end != PowerOff {
		t.Fatalf("ended with %s:\n%s", end, out)
	}
	profiles := map[string]*profile.Profile{}
	for line := range strings.Lines(out) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "cpu" && name != "heap" {
			continue
		}
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if profiles[name], err = profile.Parse(bytes.NewReader(b)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if len(profiles) != 2 {
		t.Fatalf("not both profiles came:\n%s", out)
	}
	samples := sum(profiles["cpu"], "samples")
	t.Logf("CPU samples: %d in all, %d in hot, %d in cold", samples[""], samples["main.hot"], samples["main.cold"])
	if all, hot, cold := samples[""], samples["main.hot"], samples["main.cold"]; all < 50 || hot < all/2 || hot < 3*cold {
		t.Errorf("of %d samples %d are in hot and %d in cold, which has a ninth of its work", all, hot, cold)
	}
	inuse := sum(profiles["heap"], "inuse_space")
	if keep := inuse["main.keep"]; keep < 12<<20 || keep > 20<<20 {
		t.Errorf("the heap profile has %d bytes in keep, which holds 16 MiB", keep)
	}
}

// sum adds up the values of a kind by every function on the stacks; "" is the sum of all.
func sum(p *profile.Profile, kind string) map[string]int64 {
	at := -1
	for i, t := range p.SampleType {
		if t.Type == kind {
			at = i
		}
	}
	by := map[string]int64{}
	if at < 0 {
		return by
	}
	for _, s := range p.Sample {
		names := map[string]bool{"": true}
		for _, l := range s.Location {
			for _, f := range l.Line {
				names[f.Function.Name] = true
			}
		}
		for n := range names {
			by[n] += s.Value[at]
		}
	}
	return by
}

// TestTooLittleMemory: a guest in which the image fits and little else says what to do.
func TestTooLittleMemory(t *testing.T) {
	const memory, left = 16, 64 << 10 // MiB, bytes; the 636 KiB below the image come on top
	program, err := image.BuildProgram(filepath.Join(t.TempDir(), "hello"), "morgana/stubdoms/hello")
	if err != nil {
		t.Fatal(err)
	}
	ballast := []image.File{{Name: "/ballast", Mode: 0o600, Data: make([]byte, 4096)}}
	_, l, err := image.Join(program, image.Options{Files: ballast})
	if err != nil {
		t.Fatal(err)
	}
	ballast[0].Data = make([]byte, memory<<20-left-int(l.End))
	img, _, err := image.Join(program, image.Options{Files: ballast})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tight.elf")
	if err := os.WriteFile(file, img, 0o755); err != nil {
		t.Fatal(err)
	}
	out, end, err := Output(within(t, time.Minute), file, memory)
	if err != nil {
		t.Fatal(err)
	}
	if want := "KiB in use; give the domain more (memory= in its configuration)\n"; end != Crash || !strings.Contains(out, want) {
		t.Errorf("ended with %s and said\n%s\nwant %q", end, out, want)
	}
}

// TestNoImage: QEMU's own trouble is no end of a guest.
func TestNoImage(t *testing.T) {
	if out, end, err := Output(within(t, time.Minute), filepath.Join(t.TempDir(), "none.elf"), 64); !errors.Is(err, ErrQEMU) {
		t.Errorf("end %q, error %v:\n%s", end, err, out)
	}
}

// TestTooSlow: a guest that does not end is ended with the context.
func TestTooSlow(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, _, err := Output(ctx, "any.elf", 64); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
