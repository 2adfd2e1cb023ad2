// Package spec is the language in which a disk image is described, a line for each thing:
//
//	# a disk that boots by EFI, with its system on logical volumes
//	disk size=2G seed="release 7" time=2026-01-01T00:00:00Z
//
//	partition esp  type=esp size=64M format=fat label=ESP from=boot
//	partition main type=lvm
//
//	group vg0 on=main extent=4M
//
//	volume root size=1G format=ext4 label=root from=rootfs owner=0:0
//	  set    /etc/shadow  mode=0640 owner=0:42
//	  dir    /proc        mode=0555
//	  node   /dev/console type=char major=5 minor=1 mode=0600
//	  file   /etc/hostname text="morgana\n"
//
//	volume data extents=100%FREE stripes=1 format=ext4
//
// # Lines
//
// A line is a word that says what it is, a name, and options in any order: key=value. A value with blanks is put into
// double quotes, where \" \\ \n \t and \xHH stand for what they do in Go. From a # at the beginning of a word on, a line
// is a comment. Blanks before a line mean nothing.
//
// Sizes are numbers with B, K, M, G or T behind, powers of 1024; S is 512 bytes. Times are RFC 3339 or seconds since
// 1970.
//
//	disk       size; sector=512|4096; seed: what all uuids are made from, by default the description itself;
//	           time: when all was made, by default 1980-01-01T00:00:00Z
//	partition  type=esp|lvm|linux|swap|bios or a GUID; size: one partition may be without and gets the rest; and those
//	           of a file system
//	group      on=PARTITION,… or on=disk for a disk without partitions; extent, by default 4M; tags=A,B
//	volume     in the group above: size or extents=N, N%FREE or N%VG; stripes, stripesize; tags=A,B; readonly=yes;
//	           and those of a file system
//
// A file system is format=ext4 or format=fat, with label; from: a directory whose content it gets, relative to the
// description; owner=UID:GID for everything in it instead of what the directory says; times=keep for the files' own
// times instead of the disk's; for ext4 uuid, inodes, journal=no and reserved, in percent.
//
// Lines after a partition or volume with a file system change what is in it, in their order:
//
//	dir     PATH            a directory, with those above it
//	file    PATH            from a file, or text
//	symlink PATH            target
//	link    PATH            to: another path of the same file
//	node    PATH            type=char|block|fifo|socket; major, minor
//	set     PATH            nothing new: only mode, owner, time, xattr.NAME of what is there
//	remove  PATH            with all below it
//
// All but link and remove take mode, in octal, owner=UID:GID, time, and xattr.NAME=VALUE, such as xattr.user.comment="x".
// What has a name already is replaced; a directory stays and keeps its content.
package spec
