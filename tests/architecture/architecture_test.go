// Package architecture holds the project's imports to its design: they go one way, from programs through libraries to
// pure packages, and only programs choose a platform.
package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

const module = "morgana/"

// list returns the project's packages, their names without the module's.
func list(t *testing.T) []pkg {
	t.Helper()
	c := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"...")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

// under reports whether p is one of the folders or lies in one.
func under(p string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return p == f || strings.HasPrefix(p, f+"/") })
}

// ring is the distance from the middle: 0 pure packages, 1 libraries, 2 implementations of a platform, 3 programs and
// tests of whole systems. An import never goes outwards.
func ring(p string) int {
	switch {
	case under(p, "cmd", "stubdoms", "tests"), strings.HasPrefix(path.Base(p), "mk"):
		return 3
	case under(p, "xen/ring", "xen/wire", "blkback/attack", "xen/xenbus/handshake", "unikernel/internal/abi", "nbd/wire"),
		under(p, "lvm/text", "lvm/ondisk", "lvm/metadata", "lvm/redo", "lvm/report", "lvm/table"),
		under(p, "lvm/image/spec", "lvm/image/ext4", "lvm/image/fat", "block/gpt"), p == "lvm/image/tree",
		under(p, "xenstore/store", "xenstore/server", "xenstore/migration"), p == "xen", p == "block", p == "metrics":
		return 0
	case under(p, "metrics/exporter", "xen/devxen", "xen/sim", "unikernel", "xenstore/daemon", "xenconsoled/daemon", "block/file", "lvm/image/tree/disk"):
		return 2
	}
	return 1
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range list(t) {
		for _, imp := range p.Imports {
			if in, ok := strings.CutPrefix(imp, module); ok && ring(in) > ring(p.ImportPath) {
				t.Errorf("%s, of ring %d, imports %s, of ring %d", p.ImportPath, ring(p.ImportPath), in, ring(in))
			}
		}
	}
}

// A product or a part of the driver layer takes interfaces; the program chooses who implements them.
func TestOnlyProgramsChooseAPlatform(t *testing.T) {
	for _, p := range list(t) {
		for _, imp := range p.Imports {
			in, ok := strings.CutPrefix(imp, module)
			if ok && under(in, "xen/devxen", "xen/sim", "block/file", "lvm/image/tree/disk") && ring(p.ImportPath) < 3 && p.ImportPath != in {
				t.Errorf("%s imports %s", p.ImportPath, in)
			}
		}
	}
}

// clock finds what reads a clock or waits; dates may be formatted anywhere.
var clock = regexp.MustCompile(`\btime\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTicker|NewTimer)\b`)

// Pure packages have no operating system under them, and no clock.
func TestPurePackages(t *testing.T) {
	for _, p := range list(t) {
		if ring(p.ImportPath) != 0 {
			continue
		}
		for _, imp := range p.Imports {
			if in, ours := strings.CutPrefix(imp, module); under(imp, "os", "net", "syscall", "log", "flag") || !ours && strings.Contains(in, ".") {
				t.Errorf("%s is pure and imports %s", p.ImportPath, imp)
			}
		}
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if m := clock.Find(b); m != nil {
				t.Errorf("%s is pure and uses %s in %s", p.ImportPath, m, f)
			}
		}
	}
}

// The volume manager's core needs no operating system, so that it runs in a domain: neither it nor what it is made of
// opens a file, starts a process or dials. (fmt, which everybody uses, imports os for the file of Printf.)
func TestVolumeManagerNeedsNoSystem(t *testing.T) {
	all := list(t)
	i := slices.IndexFunc(all, func(p pkg) bool { return p.ImportPath == "lvm" })
	if i < 0 {
		t.Fatal("no package lvm")
	}
	core := append(all[i].Deps, module+"lvm")
	for _, d := range core {
		if under(d, "os/exec", "net", "os/signal", "golang.org/x/sys", "flag") {
			t.Errorf("lvm depends on %s", d)
		}
	}
	for _, p := range all {
		if !slices.Contains(core, module+p.ImportPath) {
			continue
		}
		for _, imp := range p.Imports {
			if under(imp, "os", "io/ioutil", "syscall", "path/filepath", "log") || strings.Contains(strings.TrimPrefix(imp, module), ".") {
				t.Errorf("%s, a part of lvm, imports %s", p.ImportPath, imp)
			}
		}
	}
}

// The kernel is built of nothing but itself.
func TestKernelImports(t *testing.T) {
	for _, p := range list(t) {
		if p.ImportPath != "unikernel/kernel" {
			continue
		}
		for _, imp := range p.Imports {
			if !slices.Contains([]string{"unsafe", "math/bits", module + "unikernel/internal/abi"}, imp) {
				t.Errorf("the kernel imports %s", imp)
			}
		}
	}
}

// What runs in a domain carries no image tools and no command line library.
func TestUnikernelsStaySmall(t *testing.T) {
	for _, p := range list(t) {
		if !under(p.ImportPath, "stubdoms") {
			continue
		}
		for _, d := range p.Deps {
			if under(d, "github.com/diskfs", "github.com/urfave", module+"tests", module+"unikernel/image") {
				t.Errorf("%s depends on %s", p.ImportPath, d)
			}
		}
	}
}
