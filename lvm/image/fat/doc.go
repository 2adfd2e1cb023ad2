// Package fat writes a FAT file system with all its content in one go, for what firmware has to read: FAT32, or FAT16
// or FAT12 where the device is too small for it.
//
//	err := fat.Write(dev, root, fat.Options{Label: "ESP", Serial: 0x12345678})
//
// Names are long ones (VFAT) with a short one beside; every file lies in one piece. FAT knows no owners, modes, links
// and device nodes: owners and modes are left out, a node of another type than file or directory is an error. The same
// content makes the same bytes.
//
// Sources: Microsoft, "FAT: General Overview of On-Disk Format", 1.03; fsck.fat of dosfstools is the judge.
package fat
