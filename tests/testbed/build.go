package testbed

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

var (
	//go:embed scripts/dom0-init.sh
	dom0Init string
	//go:embed scripts/initramfs-init.sh
	initramfsInit string
	//go:embed scripts/guest-init.sh
	guestInit string
)

// What the host consists of. A change of any of these, or of a script, builds a new one.
var (
	packages      = "xen-utils-4.17,xenstore-utils,lvm2,kmod,iproute2,iputils-ping,procps,udev,e2fsprogs,bridge-utils,fio,socat"
	bootModules   = []string{"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk", "crc32c_generic", "crc16", "mbcache", "jbd2", "ext4"}
	guestModules  = []string{"crc32c_generic", "crc16", "mbcache", "jbd2", "ext4", "xen-blkfront"}
	unusedDrivers = []string{"drivers/gpu", "drivers/media", "drivers/net/wireless", "drivers/net/ethernet", "drivers/infiniband", "drivers/staging", "sound", "drivers/iio", "drivers/hid", "drivers/usb"}
	tools         = map[string]string{ // program: Debian package
		"qemu-system-x86_64": "qemu-system-x86", "debootstrap": "debootstrap", "busybox": "busybox-static", "cpio": "cpio", "mkfs.ext4": "e2fsprogs",
	}
)

// Files of a built host.
const (
	fileXen    = "xen.elf"
	fileKernel = "vmlinuz"
	fileInitrd = "initrd.gz"
	fileDom0   = "dom0.img"
	fileGuest  = "guest.gz" // initramfs of the stock Linux guest; its kernel is fileKernel
	fileSums   = "SHA256SUMS"
)

var artefacts = []string{fileXen, fileKernel, fileInitrd, fileDom0, fileGuest}

// Build makes the host unless it is there, and returns its directory: MORGANA_TESTBED, or one in the user's cache named
// for the recipe. It needs root, and installs the Debian packages that it misses. Progress goes to w.
func Build(ctx context.Context, w io.Writer) (string, error) {
	dir := os.Getenv("MORGANA_TESTBED")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = "/var/cache"
		}
		h := sha256.Sum256([]byte(fmt.Sprint(packages, bootModules, guestModules, unusedDrivers, dom0Init, initramfsInit, guestInit)))
		dir = filepath.Join(cache, "morgana", "testbed-"+hex.EncodeToString(h[:6]))
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if err := installTools(ctx, w); err != nil {
		return "", err
	}
	if checkSums(dir) == nil {
		return dir, nil
	}
	fmt.Fprintf(w, "testbed: building the Xen host in %s (some minutes, once)\n", dir)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	b := &builder{ctx: ctx, w: w}
	if b.dir, err = os.MkdirTemp(filepath.Dir(dir), "build-"); err != nil {
		return "", err
	}
	defer os.RemoveAll(b.dir)
	if err := b.all(); err != nil {
		return "", fmt.Errorf("testbed: %w", err)
	}
	return dir, os.Rename(filepath.Join(b.dir, "out"), dir)
}

// installTools installs what is missing.
func installTools(ctx context.Context, w io.Writer) error {
	var missing []string
	for program, pkg := range tools {
		if _, err := exec.LookPath(program); err != nil {
			if _, err := os.Stat("/usr/sbin/" + program); err != nil {
				missing = append(missing, pkg)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("testbed: missing Debian packages, install them as root: apt-get install %s", strings.Join(missing, " "))
	}
	fmt.Fprintln(w, "testbed: installing", strings.Join(missing, " "))
	b := &builder{ctx: ctx, w: w, dir: "/"}
	if err := b.run("apt-get", "update", "-qq"); err != nil {
		return err
	}
	return b.run("apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)...)
}

type builder struct {
	ctx context.Context
	w   io.Writer
	dir string
}

func (b *builder) run(name string, args ...string) error {
	c := exec.CommandContext(b.ctx, name, args...)
	c.Dir = b.dir
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (b *builder) path(p ...string) string { return filepath.Join(append([]string{b.dir}, p...)...) }

func (b *builder) all() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{{"packages of Xen and Linux", b.debs}, {"dom0", b.dom0}, {"initramfs", b.initramfs}, {"guest", b.guest}, {"checksums", b.sums}} {
		fmt.Fprintln(b.w, "testbed:", step.name)
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// debs takes Xen and the kernel out of Debian's packages, whose signatures apt has checked.
func (b *builder) debs() error {
	for _, d := range []string{"debs", "x", "out"} {
		if err := os.Mkdir(b.path(d), 0o755); err != nil {
			return err
		}
	}
	if err := b.run("apt-get", "update", "-qq"); err != nil {
		return err
	}
	dep, err := exec.CommandContext(b.ctx, "apt-cache", "depends", "linux-image-amd64").Output()
	if err != nil {
		return fmt.Errorf("apt-cache depends linux-image-amd64: %w", err)
	}
	linux := ""
	for _, l := range strings.Split(string(dep), "\n") {
		if _, p, ok := strings.Cut(l, "Depends: "); ok && linux == "" {
			linux = p
		}
	}
	if err := b.run("sh", "-c", "cd debs && apt-get download -qq -o APT::Sandbox::User=root xen-hypervisor-4.17-amd64 "+linux+" && for d in *.deb; do dpkg -x $d ../x; done"); err != nil {
		return err
	}
	xen, err := os.ReadFile(b.path("x/boot/xen-4.17-amd64.gz"))
	if err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(xen))
	if err != nil {
		return err
	}
	if xen, err = io.ReadAll(z); err != nil {
		return err
	}
	if err := os.WriteFile(b.path("out", fileXen), xen, 0o644); err != nil {
		return err
	}
	return b.run("sh", "-c", "cp x/boot/vmlinuz-* out/"+fileKernel)
}

// dom0 makes the root file system of dom0.
func (b *builder) dom0() error {
	if err := b.run("debootstrap", "--variant=minbase", "--include="+packages, "bookworm", "root"); err != nil {
		return err
	}
	script := "set -e; K=$(ls x/lib/modules); rm -rf root/lib/modules; mkdir -p root/lib/modules; cp -a x/lib/modules/$K root/lib/modules/; cd root/lib/modules/$K/kernel; rm -rf " +
		strings.Join(unusedDrivers, " ") + "; cd - >/dev/null; chroot root depmod $K; rm -rf root/var/cache/apt/archives/*.deb root/var/lib/apt/lists/*"
	if err := b.run("sh", "-c", script); err != nil {
		return err
	}
	if err := os.WriteFile(b.path("root/sbin/bed-init"), []byte(dom0Init), 0o755); err != nil {
		return err
	}
	return b.run("mkfs.ext4", "-q", "-d", "root", "-L", "dom0", "out/"+fileDom0, "1800M")
}

// archive packs an initramfs: busybox, modules in /m, and init.
func (b *builder) archive(dir, init, out string, modules []string) error {
	for _, d := range []string{"bin", "m", "dev", "proc", "sys", "new", "tmp", "mnt"} {
		if err := os.MkdirAll(b.path(dir, d), 0o755); err != nil {
			return err
		}
	}
	var load []string
	for _, m := range modules {
		found, err := exec.CommandContext(b.ctx, "find", b.path("x/lib/modules"), "-name", m+".ko", "-o", "-name", strings.ReplaceAll(m, "_", "-")+".ko").Output()
		if err != nil {
			return err
		}
		file := strings.TrimSpace(strings.SplitN(string(found), "\n", 2)[0])
		if file == "" {
			continue // built in
		}
		if err := b.run("cp", file, filepath.Join(dir, "m", m+".ko")); err != nil {
			return err
		}
		load = append(load, m)
	}
	if err := os.WriteFile(b.path(dir, "init"), []byte(strings.Replace(init, "MODULES", strings.Join(load, " "), 1)), 0o755); err != nil {
		return err
	}
	return b.run("sh", "-c", "cp /bin/busybox "+dir+"/bin/ && cd "+dir+" && find . | cpio -o -H newc --quiet | gzip -1 > ../out/"+out)
}

func (b *builder) initramfs() error {
	return b.archive("i", initramfsInit, fileInitrd, bootModules)
}

func (b *builder) guest() error {
	return b.archive("g", guestInit, fileGuest, guestModules)
}

func (b *builder) sums() error {
	return b.run("sh", "-c", "cd out && sha256sum "+strings.Join(artefacts, " ")+" > "+fileSums)
}

// checkSums reports whether every artefact is there and as it was built.
func checkSums(dir string) error {
	sums, err := os.ReadFile(filepath.Join(dir, fileSums))
	if err != nil {
		return err
	}
	for _, l := range strings.Split(strings.TrimSpace(string(sums)), "\n") {
		want, name, ok := strings.Cut(l, "  ")
		if !ok {
			return fmt.Errorf("%s: bad line %q", fileSums, l)
		}
		if name == fileDom0 { // 1.8 GB: its size stands for it
			if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() != 1800<<20 {
				return fmt.Errorf("%s is missing or cut off", name)
			}
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if h := sha256.Sum256(b); hex.EncodeToString(h[:]) != want {
			return fmt.Errorf("%s is not what was built", name)
		}
	}
	return nil
}
