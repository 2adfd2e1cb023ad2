package testbed

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
)

// scripts are what runs inside of the machine: init of the initramfs, of dom0 and of the stock guest.
//
//go:embed scripts
var scripts embed.FS

// recipe is all that the host is made of, but for the versions of Debian's packages, which the manifest records. Its
// hash names the cache directory, so a change builds a new host beside the old one.
var recipe = struct {
	Format        int // raise it when the way of building changes
	Suite         string
	Packages      []string // of dom0
	Xen           string   // package and, in /boot, the hypervisor
	Linux         string   // a package that depends on the newest kernel
	BootModules   []string // of the initramfs, in the order of loading
	GuestModules  []string // of the stock guest, in the order of loading
	UnusedDrivers []string // left out of dom0's modules: they are two thirds of them
	ImageMiB      int
	InGuest       []string // packages of dom0 that a guest's root file system has beside what Debian cannot be without
	RootMiB       int      // of the guest's root file system
}{
	Format: 7,
	Suite:  "bookworm",
	Packages: []string{
		"xen-utils-4.17", "xenstore-utils", "lvm2", "kmod", "iproute2", "iputils-ping", "procps", "udev", "e2fsprogs",
		"bridge-utils", "fio", "socat", "qemu-system-xen",
	},
	Xen:   "xen-hypervisor-4.17-amd64",
	Linux: "linux-image-amd64",
	// virtio_ring before virtio, or virtio does not load.
	BootModules: []string{
		"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
		"crc32c_generic", "crc16", "mbcache", "jbd2", "ext4",
	},
	// The Xen devices let a stock guest run programs of the driver layer (xen/devxen).
	GuestModules: []string{
		"crc32c_generic", "crc16", "mbcache", "jbd2", "ext4", "xen-blkfront", "xen-netfront",
		"xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs",
	},
	UnusedDrivers: []string{
		"drivers/gpu", "drivers/media", "drivers/net/wireless", "drivers/net/ethernet", "drivers/infiniband",
		"drivers/staging", "sound", "drivers/iio", "drivers/hid", "drivers/usb",
	},
	ImageMiB: 1280,
	InGuest:  []string{"e2fsprogs", "iproute2", "kmod", "mount", "procps"},
	RootMiB:  GuestRootMiB,
}

// recipeHash is the recipe's and its scripts' SHA-256, in hexadecimal.
func recipeHash() string {
	h := sha256.New()
	b, err := json.Marshal(recipe)
	if err != nil {
		panic(err) // only strings and numbers
	}
	h.Write(b)
	if err := fs.WalkDir(scripts, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := scripts.ReadFile(name)
		h.Write([]byte("\x00" + name + "\x00"))
		h.Write(b)
		return err
	}); err != nil {
		panic(err) // embedded: cannot fail
	}
	return hex.EncodeToString(h.Sum(nil))
}

// script returns an embedded script.
func script(name string) string {
	b, err := scripts.ReadFile("scripts/" + name)
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	return string(b)
}
