package testbed

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path"
	"slices"
)

// An initramfs is a cpio archive in the "new ASCII" format (Linux, Documentation/driver-api/early-userspace/
// buffer-format.rst). The kernel unpacks several archives that follow each other, compressed each for itself.
type initramfs struct {
	b    bytes.Buffer
	ino  int
	dirs []string
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755 // executable: an init that is not cannot start
)

// dir adds a directory and those above it.
func (r *initramfs) dir(name string) {
	if name == "." || slices.Contains(r.dirs, name) {
		return
	}
	r.dir(path.Dir(name))
	r.dirs = append(r.dirs, name)
	r.entry(name, modeDir, nil)
}

// file adds a file, executable, and the directories above it.
func (r *initramfs) file(name string, content []byte) {
	r.dir(path.Dir(name))
	r.entry(name, modeFile, content)
}

func (r *initramfs) entry(name string, mode int, content []byte) {
	r.ino++
	fmt.Fprintf(&r.b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		r.ino, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	r.pad()
	r.b.Write(content)
	r.pad()
}

func (r *initramfs) pad() {
	for r.b.Len()%4 != 0 {
		r.b.WriteByte(0)
	}
}

// finish ends the archive and returns it, uncompressed.
func (r *initramfs) finish() []byte {
	r.entry("TRAILER!!!", 0, nil)
	return r.b.Bytes()
}

// appendTo appends the archive to others, uncompressed, so that libxc leaves the whole to the guest's kernel: it would
// unpack a ramdisk that begins and ends as a gzip file does, and stop after the first archive (xc_dom_check_gzip). The
// kernel wants an archive's start at a multiple of 4 and skips zeros.
func (r *initramfs) appendTo(ramdisk []byte) []byte {
	for len(ramdisk)%4 != 0 {
		ramdisk = append(ramdisk, 0)
	}
	ramdisk = append(ramdisk, r.finish()...)
	return append(ramdisk, 0, 0, 0, 0)
}

// bytes is the finished archive, compressed.
func (r *initramfs) bytes() []byte {
	b := r.finish()
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	w.Write(b) // to memory: cannot fail
	w.Close()
	return z.Bytes()
}

// write puts the finished archive into a file.
func (r *initramfs) write(name string) error { return os.WriteFile(name, r.bytes(), 0o644) }
