// Package xen holds the types and the small interfaces of the driver layer: what a frontend, a backend or a
// service needs of Xen, and nothing of how it gets it.
//
// Three worlds implement them: xen/sim (an in-process hypervisor for fast tests), xen/devxen over Linux's
// /dev/xen devices in dom0 or in a driver domain, and xen/devxen again inside a unikernel, where Morgana's own
// kernel offers the same devices with the same calls. Package xen/xentest is the one suite that all of them pass.
//
// # Rules for users
//
// A peer is hostile. Memory that is shared with it changes at any moment: copy once, validate the copy, use the
// copy. An event only says "look again": events coalesce, and may come without a reason. A peer may be gone at
// any step; every call then returns an error that matches ErrPeerGone or ErrBadGrant, and nothing hangs that has
// a context.
//
// Sources: xen/include/public/{grant_table,event_channel,xen}.h of Xen 4.17.
package xen
