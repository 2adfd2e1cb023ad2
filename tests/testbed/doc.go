// Package testbed gives tests a real Xen host: Xen and a Debian dom0 under QEMU's emulation of an AMD CPU with nested
// paging, or the machine's own Xen where there is one.
//
// The host is built once (Build) into a cache directory outside of the tree and boots in about ten seconds (Start).
// Commands reach dom0 through an agent that is built from this tree and started from the shared directory, so that the
// cached image does not depend on it. A directory is shared both ways: Host.Share here, /share there.
//
//	h, err := testbed.Start(ctx, testbed.Options{})
//	defer h.Close()
//	out, err := h.Output(ctx, "xl", "info")
//
// Time under emulation says nothing about time on iron: compare two things in the same boot.
package testbed
