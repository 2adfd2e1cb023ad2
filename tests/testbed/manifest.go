package testbed

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

const fileManifest = "manifest.json"

// manifest says what a host was built from and what came out, so that a cut-off or altered file is not booted.
type manifest struct {
	Recipe    string            `json:"recipe"`    // recipeHash
	Inputs    map[string]string `json:"inputs"`    // Debian package file: SHA-256
	Artefacts map[string]string `json:"artefacts"` // file: SHA-256
	Stamps    map[string]string `json:"stamps"`    // file: size and time, which spare reading it again
}

// write sums the artefacts in dir and puts the manifest beside them.
func (m *manifest) write(dir string) error {
	var err error
	if m.Artefacts, err = sums(dir, artefacts); err != nil {
		return err
	}
	m.Stamps = map[string]string{}
	for _, name := range artefacts {
		if m.Stamps[name], err = stamp(dir, name); err != nil {
			return err
		}
	}
	b, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fileManifest), append(b, '\n'), 0o644)
}

// stamp is a file's size and when it was written.
func stamp(dir, name string) (string, error) {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano()), nil
}

// verify reports whether dir holds a host of this recipe, every artefact as it was built. It reads what was written since.
func verify(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, fileManifest))
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("%s: %w", fileManifest, err)
	}
	if m.Recipe != recipeHash() {
		return errors.New("it was built by another recipe")
	}
	var written []string
	for _, name := range artefacts {
		switch is, err := stamp(dir, name); {
		case err != nil:
			return err
		case is != m.Stamps[name]:
			written = append(written, name)
		}
	}
	got, err := sums(dir, written)
	if err != nil {
		return err
	}
	for _, name := range written {
		if got[name] != m.Artefacts[name] {
			return fmt.Errorf("%s is not what was built", name)
		}
	}
	return nil
}

// sums returns the SHA-256 of each named file in dir.
func sums(dir string, names []string) (map[string]string, error) {
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		out  = map[string]string{}
		errs error
	)
	for _, name := range names {
		wg.Go(func() {
			sum, err := sumFile(filepath.Join(dir, name))
			mu.Lock()
			defer mu.Unlock()
			out[name] = sum
			errs = errors.Join(errs, err)
		})
	}
	wg.Wait()
	return out, errs
}

func sumFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	// Without WriterTo the buffer is ours: a large one makes the disk image twice as quick.
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
