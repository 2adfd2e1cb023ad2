package backup

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"morgana/lvm/metadata"
	"morgana/lvm/text"
)

// How many archives of a group stay in any case, and for how long: lvm2's backup/retain_min and retain_days.
const (
	retainMin  = 10
	retainDays = 30
)

// Store is where the files are.
type Store struct {
	BackupDir, ArchiveDir string
	Now                   func() time.Time
}

// Dirs finds the folders: those that the environment names, lvm2's for root, else the user's own.
func Dirs(getenv func(string) string) Store {
	s := Store{Now: time.Now}
	base := getenv("MLVM_SYSTEM_DIR")
	switch {
	case base != "":
	case os.Getuid() == 0:
		base = "/etc/lvm"
	case getenv("XDG_STATE_HOME") != "":
		base = filepath.Join(getenv("XDG_STATE_HOME"), "mlvm")
	case getenv("HOME") != "":
		base = filepath.Join(getenv("HOME"), ".local", "state", "mlvm")
	default:
		return s // there is no place
	}
	s.BackupDir, s.ArchiveDir = filepath.Join(base, "backup"), filepath.Join(base, "archive")
	return s
}

// Backup writes a group's state after a command.
func (s Store) Backup(vg *metadata.VG, command string, stamp metadata.Stamp) error {
	if s.BackupDir == "" {
		return nil
	}
	if err := os.MkdirAll(s.BackupDir, 0o700); err != nil {
		return err
	}
	stamp.Description = "Created *after* executing '" + command + "'"
	return Write(filepath.Join(s.BackupDir, vg.Name()), vg, stamp)
}

// Remove removes the backup of a group that is no more, and leaves its archives.
func (s Store) Remove(name string) error {
	if s.BackupDir == "" {
		return nil
	}
	err := os.Remove(filepath.Join(s.BackupDir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Write writes a group's text to a file, whole or not at all.
func Write(file string, vg *metadata.VG, stamp metadata.Stamp) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".mlvm-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(vg.AppendFile(nil, stamp, time.Local))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// Archive writes a group's state before a command, and removes old ones.
func (s Store) Archive(vg *metadata.VG, command string, stamp metadata.Stamp) error {
	if s.ArchiveDir == "" {
		return nil
	}
	if err := os.MkdirAll(s.ArchiveDir, 0o700); err != nil {
		return err
	}
	stamp.Description = "Created *before* executing '" + command + "'"
	list, err := s.archives(vg.Name())
	if err != nil {
		return err
	}
	next := 0
	if len(list) > 0 {
		next = list[len(list)-1].index + 1
	}
	name := fmt.Sprintf("%s_%05d-%d.vg", vg.Name(), next, rand.Int32())
	if err := Write(filepath.Join(s.ArchiveDir, name), vg, stamp); err != nil {
		return err
	}
	s.expire(list)
	return nil
}

type archive struct {
	name  string
	index int
}

// archives are the names of a group's archives, in their order.
func (s Store) archives(group string) ([]archive, error) {
	entries, err := os.ReadDir(s.ArchiveDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []archive
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), ".vg")
		i := strings.LastIndexByte(base, '_')
		if !ok || i < 0 || base[:i] != group {
			continue
		}
		number, _, _ := strings.Cut(base[i+1:], "-")
		if n, err := strconv.Atoi(number); err == nil {
			list = append(list, archive{e.Name(), n})
		}
	}
	slices.SortFunc(list, func(a, b archive) int { return a.index - b.index })
	return list, nil
}

// expire removes archives that are too old, as long as enough others are left.
func (s Store) expire(list []archive) {
	left := len(list) + 1
	limit := s.Now().AddDate(0, 0, -retainDays)
	for _, a := range list {
		if left <= retainMin {
			return
		}
		path := filepath.Join(s.ArchiveDir, a.name)
		info, err := os.Stat(path)
		if err != nil || info.ModTime().After(limit) {
			continue
		}
		if os.Remove(path) == nil {
			left--
		}
	}
}

// File is a backup or archive.
type File struct {
	Path        string
	Group       string
	Description string
	Time        time.Time
	Err         error // it cannot be read
}

// List returns a group's archives, the oldest first, and its backup at the end.
func (s Store) List(group string) ([]File, error) {
	list, err := s.archives(group)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, a := range list {
		files = append(files, Describe(filepath.Join(s.ArchiveDir, a.name)))
	}
	if path := filepath.Join(s.BackupDir, group); s.BackupDir != "" {
		if _, err := os.Stat(path); err == nil {
			files = append(files, Describe(path))
		}
	}
	return files, nil
}

// Describe reads what a file says of itself.
func Describe(path string) File {
	f := File{Path: path}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Err = err
		return f
	}
	top, err := text.Parse(b)
	if err != nil {
		f.Err = err
		return f
	}
	for _, e := range top.Entries {
		if e.Section != nil {
			f.Group = e.Key
			break
		}
	}
	h := text.HeaderOf(top)
	f.Description, f.Time = h.Description, time.Unix(h.Time, 0)
	return f
}

// Read reads a group from a file, or the group's backup if file is "".
func (s Store) Read(group, file string) (*metadata.VG, error) {
	if file == "" {
		if s.BackupDir == "" {
			return nil, errors.New("there is no backup folder; name a file with --file")
		}
		file = filepath.Join(s.BackupDir, group)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	vg, err := metadata.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return vg, nil
}
