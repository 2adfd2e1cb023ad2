// Package ondisk is the binary part of LVM2's format: where on a disk a physical volume keeps what, and the rules by
// which new metadata are placed beside the old. It is pure: bytes in, values out.
//
//	sector 0…3      Label: whose disk this is, and where its areas lie (LVM2 writes sector 1)
//	metadata area   Header, 512 bytes, then a ring of texts; usually from 4 KiB to 1 MiB, perhaps a second at the end
//	data area       the extents of logical volumes, to the end of the device or the second metadata area
//
// A Header has two slots that tell where in the ring a text lies. Slot 0 is what counts. Slot 1 holds what is about
// to be committed, for whoever activates volumes in between; every other reader passes it over.
//
// All integers are little-endian. Checksums are CRC-32 with the usual reflected polynomial, a first value of
// 0xf597a6cf and no final complement.
//
// Sources: lib/label/label.h, lib/format_text/layout.h, lib/format_text/format-text.c, lib/misc/crc.h of LVM2.
package ondisk
