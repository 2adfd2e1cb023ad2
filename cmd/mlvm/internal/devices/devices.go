package devices

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// List are names of disks, and where they were found.
type List struct {
	Names  []string
	Source string // "--devices", "MLVM_DEVICES", a file's name; "" if the command's own operands are all there is
}

// Request is what a command line says of devices.
type Request struct {
	Devices  []string // of --devices; each may hold several, separated by commas
	File     string   // of --devicesfile
	HasFile  bool
	Operands []string // disks that the command itself names
	Getenv   func(string) string
}

// Find returns the disks that a command may look at.
func Find(r Request) (List, error) {
	switch {
	case len(r.Devices) > 0:
		return List{Names: split(r.Devices), Source: "--devices"}, nil
	case r.HasFile && r.File != "":
		return readFile(r.File)
	case !r.HasFile && r.Getenv("MLVM_DEVICES") != "":
		return List{Names: split([]string{r.Getenv("MLVM_DEVICES")}), Source: "MLVM_DEVICES"}, nil
	}
	if file := defaultFile(r.Getenv); file != "" && !r.HasFile {
		l, err := readFile(file)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return l, err
		}
	}
	return List{Names: unique(r.Operands)}, nil
}

// defaultFile is the user's own list.
func defaultFile(getenv func(string) string) string {
	switch {
	case getenv("XDG_CONFIG_HOME") != "":
		return filepath.Join(getenv("XDG_CONFIG_HOME"), "mlvm", "devices")
	case getenv("HOME") != "":
		return filepath.Join(getenv("HOME"), ".config", "mlvm", "devices")
	}
	return ""
}

func split(lists []string) []string {
	var names []string
	for _, l := range lists {
		for name := range strings.SplitSeq(l, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	return unique(names)
}

// unique keeps the first of names that mean the same file.
func unique(names []string) []string {
	var kept []string
	for _, n := range names {
		if !slices.ContainsFunc(kept, func(k string) bool { return Same(k, n) }) {
			kept = append(kept, n)
		}
	}
	return kept
}

// Same reports whether two names mean the same file.
func Same(a, b string) bool {
	if a == b || filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

func readFile(name string) (List, error) {
	f, err := os.Open(name)
	if err != nil {
		return List{}, err
	}
	defer f.Close()
	names, err := Parse(f)
	if err != nil {
		return List{}, fmt.Errorf("%s: %w", name, err)
	}
	return List{Names: unique(names), Source: name}, nil
}

// Parse reads a devices file: a name in each line, or lvm2's lines of KEY=VALUE, of which DEVNAME tells the name, or
// IDNAME where IDTYPE is devname or loop_file. What follows # is a comment.
func Parse(r io.Reader) ([]string, error) {
	var names []string
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case isAssignment(line):
			name, err := fromKeys(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if name != "" {
				names = append(names, name)
			}
		default:
			names = append(names, line)
		}
	}
	return names, lines.Err()
}

// isAssignment reports whether a line begins like one of lvm2's: upper case letters, then =.
func isAssignment(line string) bool {
	key, _, ok := strings.Cut(line, "=")
	return ok && key != "" && strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

func fromKeys(line string) (string, error) {
	keys := map[string]string{}
	for word := range strings.FieldsSeq(line) {
		k, v, ok := strings.Cut(word, "=")
		if !ok {
			return "", fmt.Errorf("%q is neither a name nor KEY=VALUE", word)
		}
		keys[k] = v
	}
	switch {
	case keys["IDTYPE"] == "":
		return "", nil // VERSION, HASH and the like
	case keys["DEVNAME"] != "" && keys["DEVNAME"] != ".":
		return keys["DEVNAME"], nil
	case (keys["IDTYPE"] == "devname" || keys["IDTYPE"] == "loop_file") && keys["IDNAME"] != "":
		return keys["IDNAME"], nil
	}
	return "", errors.New("the device has no DEVNAME, and mlvm cannot look for others")
}
