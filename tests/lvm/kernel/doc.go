// Package kernel has a Linux kernel with device-mapper and the real lvm2 judge what mlvm made, and mlvm what they made.
//
// The kernel is that of the test bed (tests/testbed) without Xen; it boots once for all tests of a run, in about fifteen
// seconds. Its disks are files here, so mlvm works on them from outside while nothing is active inside.
package kernel
