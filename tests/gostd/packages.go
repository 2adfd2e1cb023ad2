package gostd

// A Package is one of Go's, with what its tests need.
type Package struct {
	Path      string
	MemoryMiB int      // of the guest; 0: defaultMemory
	Carry     []string // files and directories that its tests open, relative to its own directory
	Env       []string // NAME=VALUE in both worlds
	Skip      []string // top-level tests that do not run, because what they find depends on the machine
}

const defaultMemory = 384

// Packages are those whose tests run, the longest first, so that two at a time end together.
var Packages = []Package{
	{Path: "math/big"},
	{Path: "runtime", MemoryMiB: 2048, Skip: []string{
		"TestUsingVDSO",                                  // looks for strace
		"TestMemHash32Equality", "TestMemHash64Equality", // for CPUs without AES
	}},
	{Path: "time", Carry: []string{"testdata"}},
	{Path: "crypto/rand"},
	{Path: "os", Skip: []string{"TestTTYClose"}, Carry: []string{ // on Linux TestTTYClose wants a terminal
		"testdata", "dir_unix.go", "env.go", "error.go", "exec", "file.go", "os_test.go", "read_test.go", "stat_darwin.go", "stat_linux.go", "types.go",
	}},
	{Path: "encoding/json"},
	{Path: "compress/flate", Carry: []string{"testdata", "../testdata", "../../testdata"}},
	{Path: "regexp", Carry: []string{"testdata"}},
	{Path: "reflect"},
	{Path: "strconv"},
	{Path: "os/signal"},
	{Path: "bytes"},
	{Path: "sync/atomic"},
	{Path: "unique"},
	{Path: "sync", Carry: []string{"example_test.go"}},
	{Path: "strings"},
	{Path: "fmt"},
	{Path: "bufio"},
	{Path: "slices"},
	{Path: "sort"},
	{Path: "text/template", Carry: []string{"testdata"}},
	{Path: "html/template", Carry: []string{"testdata"}},
	{Path: "context"},
	{Path: "io"},
	{Path: "io/fs", Carry: []string{"glob.go", "../fs/glob.go"}},
	{Path: "path/filepath", Carry: []string{"match.go", "../filepath/match.go"}},
	{Path: "runtime/debug", Carry: []string{"testdata"}},
	{Path: "crypto/sha256", Env: []string{"GODEBUG=cpu.sha=off"}}, // which QEMU's CPU may lack
	{Path: "hash/crc32"},
	{Path: "container/heap"},
	{Path: "unicode/utf8"},
	{Path: "maps"},
	{Path: "errors"},
}

// Find returns the package with that import path.
func Find(path string) (Package, bool) {
	for _, p := range Packages {
		if p.Path == path {
			return p, true
		}
	}
	return Package{}, false
}
