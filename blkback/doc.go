// Package blkback is the block backend: it serves block devices to the disks of other domains.
//
//	server, err := blkback.New(blkback.Config{
//		Store: store, Domain: dom,
//		Open: func(ctx context.Context, a *blkback.Attachment) (blkback.Disk, error) {
//			lv, err := group.OpenLV(a.Target)
//			return blkback.Disk{Device: lv}, err
//		},
//	})
//	…
//	err = server.Serve(ctx)
//
// It speaks all of the protocol that Linux's backend does: several rings of up to 16 pages, persistent grants, indirect
// requests, flushes and barriers, discards, the layouts of 32-bit and 64-bit frontends, sectors of 512 and 4096 bytes,
// disks that grow while they are used.
//
// # A request's way
//
//	ring → take, copy, validate → plan → map or copy → the device's calls → copy back, unmap → answer, notify
//
// A step of a ring takes a batch of requests. Those that follow each other on the disk become one call of the device,
// which gets the frontend's own memory as a vector where it is mapped (block.Vectored) and one contiguous buffer where
// it is copied. A batch costs one copy each way, or no hypercall at all with persistent grants, and one notification at
// most. Nothing is allocated for a request.
//
// A device that answers in a few microseconds is called by the goroutine that reads the ring; others are called by
// up to Options.Parallel goroutines at a time. Which it is is measured for each kind of call.
//
// # Order
//
// Requests that are under way together may be done in any order, as the protocol has it. A flush covers what was
// answered before it was asked for, on any ring of the disk. A barrier, and a flush that carries data, begins when
// everything before it on its ring has ended, and nothing after it begins before it has ended; its data is on stable
// storage when it is answered.
//
// # Trust
//
// A request, and the page of segments of an indirect one, is copied once, and the copy validated and used. What a
// frontend does to its data while it is written is what the device may get to see of it. A request that is wrong, or
// whose pages cannot be reached, is answered with an error and counted. A frontend that writes an impossible index into
// its ring loses its connection, and finds the reason in xenstore. Its memory and its time are bounded by Options; no
// other disk notices. Nothing but the device's own bytes is ever read or written for a frontend, and a frontend whose
// disk is read-only changes nothing, whatever it writes to its ring or to xenstore.
//
// A call that the device never returns from keeps its memory, but does not keep the disk from being detached.
//
// Sources: xen/include/public/io/{blkif,ring}.h; Linux's drivers/block/xen-blkback for what frontends are used to.
package blkback
