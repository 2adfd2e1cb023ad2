package testbed

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Files of a built host.
const (
	fileXen    = "xen.elf"
	fileKernel = "vmlinuz"
	fileELF    = "vmlinux" // the kernel as Xen need not unpack it, which takes it 6 s of the emulator
	fileInitrd = "initrd.gz"
	fileDom0   = "dom0.img"
	fileGuest  = "guest.gz" // initramfs of the stock Linux guest; its kernel is fileKernel
	fileRoot   = "root.img" // a Debian for a stock guest that has its root on a disk
)

var artefacts = []string{fileXen, fileKernel, fileELF, fileInitrd, fileDom0, fileGuest, fileRoot}

// tools are the programs that building and booting need, and the Debian packages that have them.
var tools = []struct{ program, pkg string }{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"debootstrap", "debootstrap"},
	{"mkfs.ext4", "e2fsprogs"},
	{"xz", "xz-utils"},
}

// cacheDir is where the host of this recipe is: under $MORGANA_TESTBED, or under morgana in the user's cache.
func cacheDir() string {
	parent := os.Getenv("MORGANA_TESTBED")
	if parent == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = "/var/cache" // no HOME: a service or a container's first process
		}
		parent = filepath.Join(cache, "morgana")
	}
	return filepath.Join(parent, "testbed-"+recipeHash()[:12])
}

// Build makes the host unless it is there as it was built, and returns its directory. Building takes one or two minutes
// and needs root, because debootstrap does; it installs the Debian packages that it misses. Processes that build at the
// same time wait for each other. What is done is said on w, a line a step.
func Build(ctx context.Context, w io.Writer) (string, error) {
	dir := cacheDir()
	unlock, err := lock(dir+".lock", w)
	if err != nil {
		return "", fmt.Errorf("testbed: %w", err)
	}
	defer unlock()
	if err := installTools(ctx, w); err != nil {
		return "", err
	}
	if err := buildAgent(ctx, w, agentFile(dir)); err != nil {
		return "", err
	}
	switch err := verify(dir); {
	case err == nil:
		return dir, nil
	case os.Getuid() != 0:
		return "", fmt.Errorf("testbed: no Xen host in %s (%w); build it once as root: make xenhost", dir, err)
	case !errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(w, "testbed: %s: %v; building it anew\n", dir, err)
	}
	fmt.Fprintf(w, "testbed: building the Xen host in %s, once; it takes a minute or two\n", dir)
	b := &builder{ctx: ctx, w: w, manifest: manifest{Recipe: recipeHash(), Inputs: map[string]string{}}}
	if b.dir, err = os.MkdirTemp(filepath.Dir(dir), "building-"); err != nil {
		return "", err
	}
	defer os.RemoveAll(b.dir)
	if err := b.all(); err != nil {
		return "", fmt.Errorf("testbed: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(b.path("out"), dir)
}

// lock takes an exclusive lock on a file, and says so when it has to wait.
func lock(name string, w io.Writer) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		fmt.Fprintln(w, "testbed: another process builds or checks the host; waiting for it")
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f.Close, nil
}

// installTools installs the packages of programs that are missing.
func installTools(ctx context.Context, w io.Writer) error {
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			if _, err := os.Stat("/usr/sbin/" + t.program); err != nil {
				missing = append(missing, t.pkg)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	words := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return fmt.Errorf("testbed: Debian packages are missing; as root: apt-get install %s", words)
	}
	fmt.Fprintln(w, "testbed: installing", words)
	b := &builder{ctx: ctx, w: w, dir: "/"}
	if err := b.run("apt-get", "update", "-qq"); err != nil {
		return err
	}
	return b.run("apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"}, missing...)...)
}

// A builder builds one host in a directory of its own: root is dom0's file system, packages what was unpacked of Xen,
// Linux and busybox, out the artefacts.
type builder struct {
	ctx      context.Context
	w        io.Writer
	dir      string
	manifest manifest
	modules  string // directory of Linux's modules, relative to dir
}

func (b *builder) path(p ...string) string { return filepath.Join(append([]string{b.dir}, p...)...) }

// run runs a command in b.dir and shows its output only in its error.
func (b *builder) run(name string, args ...string) error {
	c := exec.CommandContext(b.ctx, name, args...)
	c.Dir = b.dir
	// The later of two settings counts. debootstrap and depmod are in sbin, which a user's PATH may not have.
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/bin:/bin")
	if out, err := c.CombinedOutput(); err != nil {
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, lastLines(out, 20))
	}
	return nil
}

func (b *builder) all() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"Debian for dom0", b.debootstrap},
		{"Xen, Linux and busybox", b.unpack},
		{"dom0's disk image", b.dom0},
		{"initramfs of dom0 and of the stock guest", b.initramfs},
		{"a guest's root file system", b.guestRoot},
		{"checksums", func() error { return b.manifest.write(b.path("out")) }},
	} {
		fmt.Fprintln(b.w, "testbed:", step.name)
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// debootstrap makes dom0's root file system.
func (b *builder) debootstrap() error {
	if err := os.Mkdir(b.path("out"), 0o755); err != nil {
		return err
	}
	return b.run("debootstrap", "--arch=amd64", "--variant=minbase", "--include="+strings.Join(recipe.Packages, ","), recipe.Suite, "root")
}

// unpack takes Xen, Linux and busybox out of their packages, downloaded in the new root so that they are of its Debian
// whatever the builder's is. apt checks signatures.
func (b *builder) unpack() error {
	const download = `set -e
apt-get update -qq
linux=$(apt-cache depends "$2" | sed -n 's/^ *Depends: //p' | head -n 1)
cd /var/cache/apt/archives
apt-get download -qq -o APT::Sandbox::User=root "$1" "$linux" busybox-static`
	if err := b.run("chroot", "root", "sh", "-c", download, "download", recipe.Xen, recipe.Linux); err != nil {
		return err
	}
	debs, err := filepath.Glob(b.path("root/var/cache/apt/archives/*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		name := filepath.Base(deb)
		if b.manifest.Inputs[name], err = sumFile(deb); err != nil {
			return err
		}
		for _, p := range []string{recipe.Xen + "_", "linux-image-", "busybox-static_"} {
			if strings.HasPrefix(name, p) {
				if err := b.run("dpkg-deb", "-x", deb, "packages"); err != nil {
					return err
				}
			}
		}
	}
	mods, err := filepath.Glob(b.path("packages/lib/modules/*"))
	if err != nil || len(mods) != 1 {
		return fmt.Errorf("the Linux package has %d module directories, want 1", len(mods))
	}
	b.modules = filepath.Join("packages/lib/modules", filepath.Base(mods[0]))
	xen := "xen-" + strings.TrimPrefix(recipe.Xen, "xen-hypervisor-") + ".gz"
	if err := gunzip(b.path("packages/boot", xen), b.path("out", fileXen)); err != nil {
		return err
	}
	return b.run("cp", b.path("packages/boot/vmlinuz-"+filepath.Base(b.modules)), "out/"+fileKernel)
}

func gunzip(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if b, err = io.ReadAll(z); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// dom0 finishes the root file system and makes an image of it.
func (b *builder) dom0() error {
	version := filepath.Base(b.modules)
	for _, d := range recipe.UnusedDrivers {
		if err := os.RemoveAll(b.path(b.modules, "kernel", d)); err != nil {
			return err
		}
	}
	if err := b.run("sh", "-c", "rm -rf root/lib/modules root/var/cache/apt/*.bin root/var/cache/apt/archives/*.deb root/var/lib/apt/lists/*; mkdir root/lib/modules"); err != nil {
		return err
	}
	if err := b.run("cp", "-a", b.modules, "root/lib/modules/"); err != nil {
		return err
	}
	// The root has kmod; this machine need not.
	if err := b.run("chroot", "root", "depmod", version); err != nil {
		return err
	}
	if err := b.unpackKernel("out/" + fileELF); err != nil {
		return err
	}
	if err := b.run("cp", "out/"+fileELF, "root"+unpackedKernel); err != nil {
		return err
	}
	if err := b.run("mkdir", "-p", "root"+shareDir); err != nil {
		return err
	}
	for to, from := range map[string]string{"sbin/bed-init": "dom0-init.sh", "etc/xen/scripts/block-plain": "block-plain.sh"} {
		if err := os.WriteFile(b.path("root", to), []byte(script(from)), 0o755); err != nil {
			return err
		}
	}
	return b.run("mkfs.ext4", "-q", "-d", "root", "-L", "dom0", "out/"+fileDom0, fmt.Sprint(recipe.ImageMiB)+"M")
}

// unpackedKernel is Linux in dom0 as an ELF file: to unpack it takes libxc 16 s of the emulator, for each guest.
const unpackedKernel = "/boot/vmlinux"

// unpackKernel takes the ELF file out of Linux's boot image (Linux, Documentation/arch/x86/boot.rst: payload_offset and
// payload_length, from the end of the setup sectors).
func (b *builder) unpackKernel(to string) error {
	image, err := os.ReadFile(b.path("out", fileKernel))
	if err != nil {
		return err
	}
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" {
		return fmt.Errorf("%s is no boot image of Linux", fileKernel)
	}
	le := binary.LittleEndian
	begin := (int(image[0x1f1])+1)*512 + int(le.Uint32(image[0x248:]))
	end := begin + int(le.Uint32(image[0x24c:]))
	if begin > end || end > len(image) || !bytes.HasPrefix(image[begin:end], []byte("\xfd7zXZ\x00")) {
		return fmt.Errorf("the kernel in %s is not packed by xz", fileKernel)
	}
	if err := os.WriteFile(b.path("vmlinux.xz"), image[begin:end], 0o644); err != nil {
		return err
	}
	// After the stream comes its size.
	return b.run("sh", "-c", `xz -dc --single-stream vmlinux.xz >"$1"`, "unpack", to)
}

func (b *builder) initramfs() error {
	boot, err := b.archive(script("initramfs-init.sh"), recipe.BootModules)
	if err != nil {
		return err
	}
	if err := boot.write(b.path("out", fileInitrd)); err != nil {
		return err
	}
	guest, err := b.archive(script("guest-init.sh"), recipe.GuestModules)
	if err != nil {
		return err
	}
	return guest.write(b.path("out", fileGuest))
}

// guestRoot makes an image of Debian for a guest: dom0's root without what only dom0 needs.
func (b *builder) guestRoot() error {
	// dpkg asks nothing; documents and translations are most of what is left otherwise.
	const trim = `set -e
cp -a root guest
rm -rf guest/lib/modules
chroot guest sh -c 'apt-mark auto $(apt-mark showmanual) && apt-mark manual "$@"' mark "$@" >/dev/null
chroot guest apt-get autoremove -qq -y --purge -o APT::AutoRemove::RecommendsImportant=false -o APT::AutoRemove::SuggestsImportant=false >/dev/null
rm -rf guest/usr/share/doc guest/usr/share/man guest/usr/share/info guest/usr/share/locale guest/usr/share/i18n guest/var/lib/apt/lists/* guest/sbin/bed-init guest/var/log/*
cp packages/bin/busybox guest/bin/busybox
echo web >guest/etc/hostname
echo '/dev/xvda / ext4 defaults 0 1' >guest/etc/fstab`
	if err := b.run("sh", append([]string{"-c", trim, "trim"}, recipe.InGuest...)...); err != nil {
		return err
	}
	for name, content := range map[string]string{"init": script("root-init.sh"), "poweroff": script("root-poweroff.sh")} {
		file := b.path("guest/sbin", name)
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
			return err
		}
	}
	return b.run("mkfs.ext4", "-q", "-d", "guest", "-L", "root", "out/"+fileRoot, fmt.Sprint(recipe.RootMiB)+"M")
}

// archive is an initramfs of busybox, modules in /m, and an init, in which the word MODULES stands for their names in the
// order of loading: the given ones, each after those that it depends on.
func (b *builder) archive(init string, modules []string) (*initramfs, error) {
	r := &initramfs{}
	for _, d := range []string{"dev", "proc", "sys", "new", "tmp", "mnt"} {
		r.dir(d)
	}
	busybox, err := os.ReadFile(b.path("packages/bin/busybox"))
	if err != nil {
		return nil, err
	}
	r.file("bin/busybox", busybox)
	load, err := b.withDependencies(modules)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range load {
		module, err := os.ReadFile(b.path("root/lib/modules", filepath.Base(b.modules), file))
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".ko")
		r.file("m/"+name+".ko", module)
		names = append(names, name)
	}
	r.file("init", []byte(strings.Replace(init, "MODULES", strings.Join(names, " "), 1)))
	return r, nil
}

// lastLines is the end of a command's output, for an error.
func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
