// Package devxen implements package xen over the character devices /dev/xen/evtchn, gntdev, gntalloc and xenbus: in
// dom0, in a driver domain, and in a unikernel, whose kernel offers the same devices.
//
//	dom, err := devxen.Open()
//	…
//	grant, err := dom.Share(7, 1, xen.ReadWrite)
//
// It uses only open, ioctl, mmap(MAP_SHARED), munmap, read, write and epoll on these devices: no cgo, no hypercall
// of its own. One goroutine for each Domain waits for event channels in Go's poller; a goroutine in Event.Wait costs
// no thread, and an event costs no allocation.
//
// # What Linux does not tell
//
// On Linux nobody says whether a peer still maps a page that we shared: Grant.Close returns nil there, and Linux
// keeps the page and its reference out of use until the peer has unmapped it. In a unikernel Close returns an error
// matching xen.ErrInUse, with the same effect. Linux also bounds the pages that all programs share together, by
// default to 1024: Share fails with xen.ErrNoGrants then, and the error names the parameter to raise.
//
// Linux tells of a mapping that failed only that it failed. Map then looks for the culprit, with grant copies and
// single mappings, so that its error names one; that path is slow.
//
// Sources: Linux include/uapi/xen/{evtchn,gntdev,gntalloc}.h and drivers/xen/{evtchn,gntdev,gntalloc}.c of 6.1;
// Xen 4.17 xen/include/public/{grant_table,event_channel}.h.
package devxen
