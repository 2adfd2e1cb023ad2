package testbed

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// agentSource is the program that runs commands in an emulated dom0. It is built beside the host, once for each of its
// versions, so that a program which uses this package needs no source tree.
//
//go:embed agent internal/wire
var agentSource embed.FS

// agentFile is where the agent of this version is for a host in directory dir.
func agentFile(dir string) string {
	h := sha256.New()
	err := fs.WalkDir(agentSource, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := agentSource.ReadFile(name)
		h.Write([]byte("\x00" + name + "\x00"))
		h.Write(b)
		return err
	})
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	return filepath.Join(filepath.Dir(dir), "agent-"+hex.EncodeToString(h.Sum(nil))[:12])
}

// buildAgent builds the agent unless it is there.
func buildAgent(ctx context.Context, w io.Writer, file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(file), "building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	// The same place in a module of the same name, as its import wants it.
	if err := os.CopyFS(filepath.Join(tmp, "tests/testbed"), agentSource); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, "go.mod"), []byte("module morgana\n\ngo 1.21\n"), 0o644); err != nil {
		return err
	}
	fmt.Fprintln(w, "testbed: building dom0's agent")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", "agent", "./tests/testbed/agent")
	c.Dir = tmp
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOWORK=off", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("testbed: build the agent: %w\n%s", err, out)
	}
	return os.Rename(filepath.Join(tmp, "agent"), file)
}
