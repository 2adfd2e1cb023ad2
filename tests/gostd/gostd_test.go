package gostd

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/tests/qemu"
)

var update = flag.Bool("update", false, "write docs/go-tests.md from this run")

const (
	document = "../../docs/go-tests.md"
	expected = "differences.txt"
)

// TestStandardLibrary runs the tests of every package on Linux and in a guest.
func TestStandardLibrary(t *testing.T) {
	list, err := ReadDifferences(expected)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	outcomes := map[string]Outcome{}
	t.Run("packages", func(t *testing.T) {
		for _, p := range Packages {
			t.Run(p.Path, func(t *testing.T) {
				t.Parallel()
				o := runPackage(t, p, Of(p.Path, list))
				mu.Lock()
				defer mu.Unlock()
				outcomes[p.Path] = o
			})
		}
	})
	if len(outcomes) < len(Packages) { // some were filtered out with -run, or failed
		return
	}
	doc := Document(outcomes, list)
	if *update {
		if err := os.WriteFile(document, doc, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if !sameDocument(have, doc) {
		t.Errorf("docs/go-tests.md is not what this run found; write it with go test ./tests/gostd -update. This run:\n%s", doc)
	}
}

// sameDocument compares two documents, without the counts if they are of different versions of Go.
func sameDocument(a, b []byte) bool {
	if v := []byte(goVersion()); !bytes.Contains(a, v) || !bytes.Contains(b, v) {
		_, a, _ = bytes.Cut(a, []byte(differencesHeading))
		_, b, _ = bytes.Cut(b, []byte(differencesHeading))
	}
	return bytes.Equal(a, b)
}

func runPackage(t *testing.T, p Package, expected []Difference) Outcome {
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Minute)
	defer cancel()
	dir := t.TempDir()
	file, err := p.Build(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := p.Join(file)
	if err != nil {
		t.Fatal(err)
	}
	elf := filepath.Join(dir, "guest.elf")
	if err := os.WriteFile(elf, img, 0o755); err != nil {
		t.Fatal(err)
	}
	linux, err := p.Linux(file, dir)
	if err != nil {
		t.Fatal(err)
	}
	guest := Runner(func(ctx context.Context, args ...string) (string, error) {
		out, _, err := qemu.Output(ctx, elf, p.Memory(), p.Words(args...)...)
		return out, err
	})
	start := time.Now()
	l, log, err := linux.Run(ctx, p.Skip)
	if err != nil {
		t.Fatalf("on Linux: %v\n%s", err, tail(log))
	}
	onLinux := time.Since(start)
	start = time.Now()
	g, log, err := guest.Run(ctx, p.Skip)
	if err != nil {
		t.Fatalf("in the guest: %v\n%s", err, tail(log))
	}
	inGuest := time.Since(start)
	found, again, err := p.Compare(ctx, linux, guest, l, g, expected)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) > 0 {
		t.Logf("run again in both worlds: %s", strings.Join(again, ", "))
	}
	t.Logf("%d tests pass on Linux (%v), %d in the guest (%v), %d differ", l.Count(Pass), onLinux.Round(time.Millisecond), g.Count(Pass), inGuest.Round(time.Millisecond), len(found))
	if wrong := Check(expected, found, l); len(wrong) > 0 {
		name := filepath.Join(os.TempDir(), fmt.Sprintf("gostd-%s.log", strings.ReplaceAll(p.Path, "/", "_")))
		if err := os.WriteFile(name, []byte(log), 0o644); err != nil {
			t.Error(err)
		}
		t.Errorf("what the guest said is in %s; differences that are not in %s, or are there in vain:\n%s", name, "tests/gostd/differences.txt", strings.Join(wrong, "\n"))
	}
	return Outcome{Linux: l, Guest: g, Differences: len(found)}
}

// tail is the end of a log.
func tail(s string) string { return s[max(0, len(s)-4000):] }
