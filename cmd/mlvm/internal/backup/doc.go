// Package backup keeps the texts of volume groups in files as lvm2 does: the state after each change in backup/GROUP, and
// the states before in archive/GROUP_NNNNN-RANDOM.vg, of which the old ones go.
//
// The files are lvm2's to the byte, apart from who wrote them and when, and either tool restores from either's.
//
// Source: vgcfgbackup(8), vgcfgrestore(8), lvm.conf(5) and lib/format_text/archive.c of lvm2 2.03.16.
package backup
