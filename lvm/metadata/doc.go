// Package metadata is what an LVM2 volume group is made of, as a value: physical volumes, logical volumes, the segments
// that map one to the other, and every change a user can ask for.
//
// A VG never changes. A request such as CreateLV takes a VG and returns another one, together with the Operation that
// leads from the first to the second; the old VG stays as valid as before, so that a failed commit needs no undo and a
// reader needs no lock. Nothing here reads a clock, a disk or a source of randomness of its own: Env brings them.
//
//	vg, err := metadata.Parse(text)                        // what a metadata area or a backup file holds
//	after, op, err := vg.CreateLV(env, metadata.CreateLV{Name: "root", Size: metadata.Extents(100)})
//	text = after.AppendText(nil, stamp)                    // for a metadata area
//	record = op.Append(nil)                                // for a redo log: a few hundred bytes
//
// # What a change costs
//
// Logical volumes are found by name, uuid and place in the text, and the extents of each physical volume by number and
// by size, in trees of which a change copies a few nodes. The text of each logical volume is made once and kept. So a
// change takes about the same time with one logical volume and with ten thousand, and whether the text will still fit
// into the metadata area is known before anything is written.
//
// # What is understood, and what is kept
//
// Linear and striped volumes, and those of types error and zero, are created and resized. Snapshots, thin pools,
// mirrors, RAID, caches and VDO are recognized well enough to stay out of their way: a volume that another one needs is
// neither resized, renamed nor removed. Keys that are not known here are kept with their values. A group with a segment
// type that is not known can be read but not changed, as in LVM2, because nobody could tell which extents it uses.
//
// # Choice of extents
//
// The policies contiguous, cling, cling_by_tags, normal and anywhere choose the extents that LVM2 would choose for the
// same request, also for pvmove; tests/lvm/extents compares the two. See allocate.go for the order in which areas are
// considered.
//
// # Where LVM2 differs
//
//   - LVM2 numbers physical volumes anew, pv0, pv1, …, whenever it writes. Here they keep their keys, so that the text of
//     a logical volume changes only when the volume does. The uuid is what identifies them, in both.
//   - After pvresize LVM2 writes less than the device's size to dev_size, by what lies before the first extent.
//   - vgsplit of LVM2 2.03.16 moves logical volumes of types error and zero to the new group; here they stay, as with
//     newer versions.
//   - LVM2 cuts numbers off at 32 bits, and takes the first of two volumes that have the same extent. Both are errors
//     here.
//
// Sources: lib/metadata/*.c, lib/format_text/{import_vsn1,export,flags}.c of LVM2 2.03, and lvm(8), lvcreate(8),
// lvresize(8), vgsplit(8).
package metadata
