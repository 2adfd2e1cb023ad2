package peers

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

//go:embed shim/shim.c
var shim string

// packages are what the daemons and programs need that a Debian system may not have.
var packages = []string{
	"xen-utils-4.17", "xenstore-utils", "libxenstore4", "libxencall1", "libxendevicemodel1", "libxenevtchn1",
	"libxenforeignmemory1", "libxengnttab1", "libxenhypfs1", "libxenmisc4.17", "libxentoolcore1", "libxentoollog1",
	"libxen-dev", "python3-pyxs", "python3-pytest", "python3-pluggy", "python3-iniconfig", "python3-packaging", "python3-attr",
}

// pyxs is the source of python3-pyxs, which has its tests, on the same mirror. It is optional.
const pyxs = "python-pyxs_0.4.2~git20190115.97f14313.orig.tar.gz"

// Peers is where the daemons and programs are.
type Peers struct{ root string }

var find = sync.OnceValues(func() (*Peers, error) {
	for _, tool := range []string{"apt-get", "dpkg-deb", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("peers: %w: the daemons of others are Debian's", err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/var/cache"
	}
	sum := sha256.Sum256([]byte(shim + strings.Join(packages, " ")))
	dir := filepath.Join(cache, "morgana", "peers-"+hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	p := &Peers{root: dir}
	if _, err := os.Stat(dir); err == nil {
		return p, nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "peers-building-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := unpack(tmp); err != nil {
		return nil, err
	}
	return p, os.Rename(tmp, dir)
})

// Find returns the peers; the first time it downloads them.
func Find() (*Peers, error) { return find() }

// unpack downloads the packages of this Debian, unpacks them and compiles the shim.
func unpack(dir string) error {
	get := func() error {
		return run(dir, "apt-get", append([]string{"download", "-qq", "-o", "APT::Sandbox::User=root"}, packages...)...)
	}
	if err := get(); err != nil {
		if os.Getuid() != 0 {
			return err
		}
		if uerr := run(dir, "apt-get", "update", "-qq"); uerr != nil {
			return errors.Join(err, uerr)
		}
		if err := get(); err != nil {
			return err
		}
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, d := range debs {
		if err := run(dir, "dpkg-deb", "-x", d, dir); err != nil {
			return err
		}
		if err := os.Remove(d); err != nil {
			return err
		}
	}
	if err := unpackTests(dir); err != nil {
		fmt.Fprintln(os.Stderr, "peers: no tests of pyxs:", err)
	}
	src := filepath.Join(dir, "shim.c")
	if err := os.WriteFile(src, []byte(shim), 0o644); err != nil {
		return err
	}
	return run(dir, "gcc", "-shared", "-fPIC", "-O2", "-I", "usr/include", "-o", "shim.so", src, "-ldl")
}

// unpackTests gets the source of pyxs.
func unpackTests(dir string) error {
	out, err := exec.Command("apt-get", "download", "--print-uris", "python3-pyxs").Output()
	if err != nil {
		return err
	}
	uri, _, _ := strings.Cut(strings.TrimPrefix(string(out), "'"), "'")
	i := strings.LastIndexByte(uri, '/')
	if i < 0 {
		return fmt.Errorf("apt-get says %q", out)
	}
	resp, err := http.Get(uri[:i+1] + pyxs)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", uri[:i+1]+pyxs, resp.Status)
	}
	if err := os.Mkdir(filepath.Join(dir, "pyxs"), 0o755); err != nil {
		return err
	}
	c := exec.Command("tar", "-xz", "-C", "pyxs", "--strip-components=1")
	c.Dir, c.Stdin = dir, resp.Body
	return c.Run()
}

// PyxsTests is the directory of pyxs with its tests; they may be missing.
func (p *Peers) PyxsTests() (string, bool) {
	dir := filepath.Join(p.root, "pyxs")
	return dir, exists(filepath.Join(dir, "tests"))
}

func run(dir, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("peers: %s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Program is the path of a program of the packages: "xenstore-ls", "test-xenstore", "xenstored".
func (p *Peers) Program(name string) string {
	for _, d := range []string{"usr/bin", "usr/lib/xen-4.17/bin"} {
		if f := filepath.Join(p.root, d, name); exists(f) {
			return f
		}
	}
	return filepath.Join(p.root, "usr/bin", name)
}

// Python is the directory of the Python packages.
func (p *Peers) Python() string { return filepath.Join(p.root, "usr/lib/python3/dist-packages") }

func exists(f string) bool {
	_, err := os.Stat(f)
	return err == nil
}

// Command is a program of the packages as a client of a service; its environment has the libraries.
func (p *Peers) Command(socket, name string, args ...string) *exec.Cmd {
	c := exec.Command(p.Program(name), args...)
	c.Env = append(p.env(), "XENSTORED_PATH="+socket)
	return c
}

func (p *Peers) env() []string {
	return append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(p.root, "usr/lib/x86_64-linux-gnu"), "LC_ALL=C")
}
