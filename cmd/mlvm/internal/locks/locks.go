package locks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mode is how a lock is shared.
type Mode int

// The modes.
const (
	Shared    Mode = unix.LOCK_SH
	Exclusive Mode = unix.LOCK_EX
)

// Set is what a command holds.
type Set struct {
	dir  string
	held []held
	// Waiting, if set, is told once of each lock that another process has not given up for a second.
	Waiting func(path string)
}

type held struct {
	path string
	file *os.File
}

// SystemDir is where lvm2 keeps its locks.
const SystemDir = "/run/lock/lvm"

// Dir is the folder of the locks: the one that the environment names, lvm2's for root, else the user's own.
func Dir(getenv func(string) string) string {
	switch {
	case getenv("MLVM_LOCK_DIR") != "":
		return getenv("MLVM_LOCK_DIR")
	case os.Getuid() == 0:
		return SystemDir
	case getenv("XDG_RUNTIME_DIR") != "":
		return filepath.Join(getenv("XDG_RUNTIME_DIR"), "mlvm")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("mlvm-%d", os.Getuid()))
}

// New prepares a set of locks in a folder, which is made if it is not there.
func New(dir string) (*Set, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("no place for locks: %w; name one with MLVM_LOCK_DIR, or use --nolocking", err)
	}
	return &Set{dir: dir}, nil
}

// Global takes the lock of everything that is in no group. It comes before those of groups.
func (s *Set) Global(ctx context.Context, m Mode) error { return s.take(ctx, "P_global", m) }

// Group takes a group's lock. Several are taken in the order of their names.
func (s *Set) Group(ctx context.Context, name string, m Mode) error {
	if name == "" || strings.ContainsRune(name, '/') {
		return fmt.Errorf("%q is no name of a volume group", name)
	}
	if slices.ContainsFunc(s.held, func(h held) bool { return h.path == s.path("V_"+name) }) {
		return nil
	}
	return s.take(ctx, "V_"+name, m)
}

func (s *Set) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Set) take(ctx context.Context, name string, m Mode) error {
	path := s.path(name)
	aux, err := s.lock(ctx, path+":aux", Exclusive)
	if err != nil {
		return err
	}
	if m == Shared {
		undo(path+":aux", aux)
	} else {
		defer undo(path+":aux", aux)
	}
	f, err := s.lock(ctx, path, m)
	if err != nil {
		return err
	}
	s.held = append(s.held, held{path, f})
	return nil
}

// lock waits for a lock file until ctx ends.
func (s *Set) lock(ctx context.Context, path string, m Mode) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o777)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if err := s.wait(ctx, f, m); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if same(path, f) {
			return f, nil
		}
		f.Close() // its last holder has removed it
	}
}

// poll is how often a lock that another process holds is tried again.
const poll = 10 * time.Millisecond

// patience is how long a lock is waited for without a word.
const patience = time.Second

// wait locks a file that is open.
func (s *Set) wait(ctx context.Context, f *os.File, m Mode) error {
	began, said := time.Now(), s.Waiting == nil
	for {
		err := unix.Flock(int(f.Fd()), int(m)|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		}
		if !said && time.Since(began) > patience {
			said = true
			s.Waiting(f.Name())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

func same(path string, f *os.File) bool {
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	b, err := f.Stat()
	return err == nil && os.SameFile(a, b)
}

// undo gives a lock up, and removes its file if nobody else has it.
func undo(path string, f *os.File) {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && same(path, f) {
		os.Remove(path)
	}
	f.Close()
}

// Files locks files themselves, in the order of their names: those of disks.
func (s *Set) Files(ctx context.Context, files []*os.File, m Mode) error {
	files = slices.SortedFunc(slices.Values(files), func(a, b *os.File) int { return strings.Compare(a.Name(), b.Name()) })
	for _, f := range files {
		if err := s.wait(ctx, f, m); err != nil {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
	return nil
}

// Keep gives up every lock but those of some groups, which are then shared, as are those of files: for a command that
// goes on for long with what it has read, during which the groups must not change.
func (s *Set) Keep(groups []string, files []*os.File) error {
	var kept []held
	for _, h := range slices.Backward(s.held) {
		if !slices.ContainsFunc(groups, func(g string) bool { return h.path == s.path("V_"+g) }) {
			undo(h.path, h.file)
			continue
		}
		kept = append(kept, h)
		if err := unix.Flock(int(h.file.Fd()), unix.LOCK_SH); err != nil {
			return fmt.Errorf("lock %s: %w", h.path, err)
		}
	}
	s.held = kept
	for _, f := range files {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
	return nil
}

// Release gives all locks up, the last one first. Locks on files end with their descriptors.
func (s *Set) Release() {
	for _, h := range slices.Backward(s.held) {
		undo(h.path, h.file)
	}
	s.held = nil
}
