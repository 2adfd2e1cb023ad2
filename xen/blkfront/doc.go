// Package blkfront is a disk of another domain: the frontend of Xen's paravirtual block protocol as a block.Device.
//
//	disk, err := blkfront.Open(ctx, blkfront.Config{Store: store, Domain: dom, Path: "device/vbd/51712"})
//	…
//	defer disk.Close()
//	_, err = disk.ReadAt(buf, 0)
//
// A Disk is safe for concurrent use, and fast when it is used so: every call has requests of its own under way. Do
// takes a batch: all of it is in the ring before the backend is notified, once, and only if it asked for that.
//
// # Memory
//
// Data goes through pages that this package shares with the backend and keeps shared (blkif.h, "feature-persistent",
// where the protocol says that a frontend may do so whether the backend does or not). Nothing of the caller's is ever
// visible to the backend, and nothing is gained by taking the pages back in between: all that goes through them is this
// disk's. A page whose request is not answered is used for nothing else; pages that a backend still maps when the
// connection ends stay out of use until it lets go (xen.Grant). In steady state no request allocates, makes a page or
// enters the grant table.
//
// # A backend that goes and comes back
//
// When the backend leaves and the device stays, calls wait. When it is back, what was not answered is sent again, in
// the order of its first sending and before anything new, from the callers' own buffers. That is right for every
// request of blkif, none of which does harm when done twice. What was answered is not sent again: whether an answered
// write that no Flush followed survives is the backend's part, as with every disk. Do gives up waiting with its
// context; the other methods wait until the device is removed or closed.
//
// # Trust
//
// The backend has the data; it may lie about it, and withhold it. It cannot reach other memory, make a call return
// before its requests were answered, or keep one from obeying its context: responses are copied before they are looked
// at, and one that answers nothing, twice, or something else, or an index that no honest peer writes, ends the device
// with ErrBackend. Data of a read is copied once, into the caller's buffer, after the response.
//
// Sources: xen/include/public/io/{blkif,ring,xenbus}.h of Xen 4.17 to 4.21.
package blkfront
