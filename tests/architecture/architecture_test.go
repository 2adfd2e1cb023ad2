// Package architecture holds the project's imports to its design: they go one way, from programs through libraries to
// pure packages, and only programs choose a platform.
package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

const module = "morgana/"

// list returns the project's packages, their names without the module's.
func list(t *testing.T) []pkg {
	t.Helper()
	c := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"...")
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
	case under(p, "xen/ring", "xen/wire", "unikernel/internal/abi", "xenstore/store", "xenstore/server", "xenstore/migration"), p == "xen":
		return 0
	case under(p, "cmd", "stubdoms", "tests"), strings.HasPrefix(path.Base(p), "mk"):
		return 3
	case under(p, "xen/devxen", "xen/sim", "unikernel", "xenstore/daemon"):
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
			if ok && under(in, "xen/devxen", "xen/sim") && ring(p.ImportPath) < 3 && p.ImportPath != in {
				t.Errorf("%s imports %s", p.ImportPath, in)
			}
		}
	}
}

// Pure packages have no operating system under them.
func TestPurePackages(t *testing.T) {
	for _, p := range list(t) {
		if ring(p.ImportPath) != 0 {
			continue
		}
		for _, imp := range p.Imports {
			if under(imp, "os", "net", "syscall", "time", "log", "flag") || strings.Contains(imp, ".") {
				t.Errorf("%s is pure and imports %s", p.ImportPath, imp)
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
