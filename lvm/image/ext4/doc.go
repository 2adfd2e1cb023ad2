// Package ext4 writes an ext4 file system with all its content in one go: what mkfs.ext4 -d does, without root, without
// a kernel, and with the same bytes each time.
//
//	err := ext4.Write(dev, root, ext4.Options{Label: "root", UUID: id, Time: 1700000000})
//
// What is written has extents, a journal, checksums over all metadata (metadata_csum), extended attributes and POSIX
// access control lists, hard links, device nodes, sparse files and nanosecond times. Blocks of zeros in files become
// holes. The file system can be mounted for reading and writing, and resized, as any other.
//
// Not used, because nothing misses them in a new file system: flex_bg and resize_inode (growing a mounted file system
// uses meta_bg instead), 64bit (so at most 16 TiB), hashed directories (the kernel hashes the ones it makes; ours are
// linear, as those of mkfs.ext4 -d are).
//
// go-diskfs has an ext4, too, as of version 1.9.4 without extended attributes, hard links and device nodes when
// writing, and with the present time and random uuids in what it writes.
//
// Sources: Documentation/filesystems/ext4/*.rst of Linux; e2fsck of e2fsprogs is the judge.
package ext4
