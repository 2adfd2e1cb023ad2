// Package host is the main job on one screen: Morgana's domains take their places on a Xen host and serve a stock Linux
// guest, and afterwards the tools that everybody has say whether all is well.
//
//	the disk       dom0's own lvm2 makes a volume group on it, and copies a Debian into a logical volume
//	storage        a domain of ours gets the disk and serves its volumes; no Linux has them meanwhile
//	the guest      a stock Linux boots from its volume, checks what it reads, writes, syncs, powers off
//	the verdict    dom0's lvm2 reads the group, e2fsck finds nothing, what the guest wrote has the guest's checksums
//
// The host is this machine's own Xen, where the disk is a file, or one that is booted in QEMU, where xenstore is served
// by a domain of ours too. A Job's steps run one after the other; a screen shows them, with a table of the host's
// domains on a terminal.
package host
