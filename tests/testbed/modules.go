package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// withDependencies returns the files of kernel modules, relative to the modules' directory, each after those that it
// depends on, by depmod's modules.dep. What modules.builtin names is in the kernel and is left out.
func (b *builder) withDependencies(modules []string) ([]string, error) {
	dir := b.path("root/lib/modules", filepath.Base(b.modules))
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(b.path(b.modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	return order(modules, string(dep), string(builtin))
}

// order is withDependencies on the files' content. A line of modules.dep is a file, a colon, and the files that it
// needs, the ones to load last first.
func order(modules []string, dep, builtin string) ([]string, error) {
	files := map[string]string{}   // module: its file
	needs := map[string][]string{} // file: those that it needs
	for l := range strings.Lines(dep) {
		file, after, ok := strings.Cut(strings.TrimSpace(l), ":")
		if !ok {
			return nil, fmt.Errorf("modules.dep: no colon in %q", l)
		}
		files[moduleName(file)], needs[file] = file, strings.Fields(after)
	}
	inside := map[string]bool{}
	for l := range strings.Lines(builtin) {
		inside[moduleName(strings.TrimSpace(l))] = true
	}
	var out []string
	for _, m := range modules {
		m = moduleName(m)
		file, ok := files[m]
		switch {
		case inside[m]:
			continue
		case !ok:
			return nil, fmt.Errorf("this Linux has no module %s", m)
		}
		chain := slices.Clone(needs[file])
		slices.Reverse(chain)
		for _, f := range append(chain, file) {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// moduleName is how modules are called whatever their file is: with underscores.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".ko"), "-", "_")
}
