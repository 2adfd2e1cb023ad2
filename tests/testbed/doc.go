// Package testbed gives tests, and programs that show something, a real Xen host: the machine's own Xen where this is a
// dom0, else Xen and a Debian dom0 under QEMU's emulation of an AMD CPU with nested paging.
//
// The emulated host is built once (Build) into a cache directory outside of the tree. A machine of each kind boots there
// once and falls asleep; hosts go on from its memory, and are there in about four seconds (Start). Commands reach its dom0 through an agent. On an own host they run here. A directory is in both: Host.Share
// here, Host.Dir there.
//
//	h, err := testbed.Start(ctx, testbed.Options{})
//	defer h.Close()
//	out, err := h.Output(ctx, "xl", "info")
//	d, err := h.StartDomain(ctx, testbed.DomainConfig{Name: "hello", Kernel: "hello.elf"})
//	reason, err := d.Wait(ctx) // d.Console has what it wrote
//
// An own host has other domains too: names are made unique there, nothing that others started is touched, and Close
// removes what is left. Starting images there needs neither a Go toolchain nor the cache.
//
// Time under emulation says nothing about time on iron: compare two things in the same boot.
package testbed
