package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/xattr"
)

const description = `
disk size=256M time=2026-01-01T00:00:00Z
partition esp  type=esp size=40M format=fat label=ESP from=boot
partition main type=lvm
group iv on=main extent=1M tags=built
volume root size=100M format=ext4 label=root from=rootfs
  node /dev/console type=char major=5 minor=1 mode=0600
  set  /etc/shadow mode=0640 owner=0:42 xattr.user.note="set by the description"
volume data extents=50%FREE format=ext4 from=rootfs owner=7:8
`

// content fills directories with everything that a file system holds.
func content(t *testing.T, dir string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	root := func(name string) string { return filepath.Join(dir, "rootfs", name) }
	must(os.MkdirAll(root("etc"), 0o755))
	must(os.MkdirAll(root("dev"), 0o755))
	must(os.MkdirAll(root("tmp"), 0o755))
	must(os.Chmod(root("tmp"), 0o777|os.ModeSticky))
	must(os.WriteFile(root("etc/shadow"), []byte("root:*\n"), 0o600))
	must(os.WriteFile(root("su"), []byte("binary"), 0o755))
	must(os.Chmod(root("su"), 0o755|os.ModeSetuid))
	must(os.Lchown(root("su"), 123, 70000))
	must(os.Chmod(root("su"), 0o755|os.ModeSetuid)) // changing the owner took it away
	must(os.Link(root("su"), root("su2")))
	must(os.Symlink("su", root("short")))
	must(os.Symlink(strings.Repeat("a/", 50)+"x", root("long")))
	must(syscall.Mkfifo(root("fifo"), 0o620))
	must(os.WriteFile(root("empty"), nil, 0o444))
	must(os.WriteFile(root("sparse"), nil, 0o644))
	must(os.Truncate(root("sparse"), 30<<20))
	f, err := os.OpenFile(root("sparse"), os.O_WRONLY, 0)
	must(err)
	for i := range 500 { // more extents than a block of the tree holds
		_, err := f.WriteAt([]byte{byte(i + 1)}, int64(i)*40960)
		must(err)
	}
	must(f.Close())
	big := make([]byte, 5<<20+123)
	for i := range big {
		big[i] = byte(i * i >> 7)
	}
	must(os.WriteFile(root("big"), big, 0o640))
	must(os.Mkdir(root("many"), 0o750))
	for i := range 1500 {
		must(os.WriteFile(root(fmt.Sprintf("many/a file with a rather long name %d", i)), fmt.Appendf(nil, "%d", i), 0o644))
	}
	for name, attrs := range map[string]map[string]string{
		"etc":   {"user.comment": "of a directory", "system.posix_acl_default": "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x05\x00\xe8\x03\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"},
		"big":   {"user.a": "1", "user.long": strings.Repeat("x", 1000), "security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		"empty": {"user.none": ""},
		"su":    {"trusted.t": "only root sees it"},
	} {
		for k, v := range attrs {
			if err := xattr.Set(root(name), k, []byte(v)); err != nil {
				t.Logf("%s is left out: %v", k, err)
			}
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "boot/EFI/BOOT"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "boot/EFI/BOOT/BOOTX64.EFI"), big[:300_000], 0o755))
	must(os.WriteFile(filepath.Join(dir, "boot/a long name.conf"), []byte("hello"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "image.spec"), []byte(description), 0o644))
}

// buildImage builds the image of a directory that content has filled.
func buildImage(t *testing.T, bin, dir, out string) string {
	t.Helper()
	mlvm(t, bin, nil, "image", "build", filepath.Join(dir, "image.spec"), "-o", filepath.Join(dir, out))
	return filepath.Join(dir, out)
}

// A kernel activates the group of an image, checks and mounts its file systems, and finds in them what was put there.
func TestImage(t *testing.T)         { image(t, true) }
func TestImageUnderXen(t *testing.T) { image(t, false) }

func image(t *testing.T, linux bool) {
	if testing.Short() {
		t.Skip("boots a kernel")
	}
	if os.Getuid() != 0 {
		t.Skip("files of several owners are root's to make")
	}
	dir, bin := t.TempDir(), t.TempDir()
	content(t, dir)
	build(t, bin, "morgana/cmd/mlvm", "morgana/tests/lvm/kernel/list")
	one, two := buildImage(t, bin, dir, "one.img"), buildImage(t, bin, dir, "two.img")
	if sumFile(t, one) != sumFile(t, two) {
		t.Error("two images of the same description and content differ")
	}
	m := boot(t, linux, 0, one)
	if out := m.guest(t, "vgck iv 2>&1; vgs --noheadings -o vg_tags iv; vgchange -ay iv"); !strings.Contains(out, "built") || !strings.Contains(out, "2 logical volume(s)") {
		t.Error(out)
	}
	// Without device-mapper's udev rules the nodes are lvm2's own.
	m.guest(t, "e2fsck -fn /dev/iv/root; e2fsck -fn /dev/iv/data")
	m.guest(t, "mkdir -p /m/root /m/data /m/esp; mount -o ro /dev/iv/root /m/root; mount /dev/iv/data /m/data; mount -o ro /dev/vdb1 /m/esp")
	list := func(name string) string {
		out, err := exec.Command(filepath.Join(bin, "list"), filepath.Join(dir, name)).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	// What the description changes, beside lost+found.
	rootWant := strings.Replace(list("rootfs"), `"/etc/shadow" file 0600 0:0 0,0 ""`, `"/etc/shadow" file 0640 0:42 0,0 "" user.note="set by the description"`, 1)
	rootWant = strings.Replace(rootWant, "\"/empty\"", "\"/dev/console\" character device 0600 0:0 5,1 \"\"\n\"/empty\"", 1)
	rootGot := m.guest(t, "list /m/root | grep -v lost+found")
	if diff := cmp.Diff(lines(rootWant), lines(rootGot)); diff != "" {
		t.Errorf("what was put into root (-) and what the kernel finds (+):\n%s", diff)
	}
	var dataWant []string
	for _, l := range lines(list("rootfs")) {
		f := strings.SplitAfterN(l, ",", 2)
		i := strings.LastIndex(f[0][:strings.LastIndexByte(f[0], ' ')], " ")
		dataWant = append(dataWant, f[0][:i]+" 7:8"+f[0][strings.LastIndexByte(f[0], ' '):]+f[1])
	}
	if diff := cmp.Diff(dataWant, lines(m.guest(t, "list /m/data | grep -v lost+found"))); diff != "" {
		t.Errorf("what was put into data (-) and what the kernel finds (+):\n%s", diff)
	}
	boot := func(s string) (names []string) { // FAT keeps names and content
		for _, l := range lines(s) {
			f := strings.SplitAfter(l, `"`)
			at := strings.LastIndex(l, `""`)
			names = append(names, f[1]+l[at:])
		}
		return names
	}
	if diff := cmp.Diff(boot(list("boot")), boot(m.guest(t, "list /m/esp"))); diff != "" {
		t.Errorf("what was put into esp (-) and what the kernel finds (+):\n%s", diff)
	}
	// It is a file system like others: written, grown while it is mounted, and still in order.
	m.guest(t, `cp -a /m/data/many /m/data/again; rm -r /m/data/many; lvextend -L +20m iv/data; resize2fs /dev/iv/data
umount /m/data; e2fsck -fn /dev/iv/data; umount /m/root /m/esp; vgchange -an iv`)
}
