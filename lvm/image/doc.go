// Package image builds disk images without root, without loop devices and without a kernel: a disk with a GPT, volume
// groups on its partitions, and file systems filled from directories, as a description says (package spec).
//
//	s, err := spec.Parse(text)
//	disk, err := file.Create("disk.img", s.Disk.Size)
//	result, err := image.Build(ctx, disk, s, text, source, nil)
//
// The same description and the same directories make the same bytes. Every uuid is made from the description's seed,
// every time is the description's.
//
// The partition table is go-diskfs's; the file systems are those of packages ext4 and fat, the groups LVM2's (package
// lvm).
package image
