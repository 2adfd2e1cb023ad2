// Package nbd serves block devices to the network and reads others' (NBD: network block device).
//
// A Server offers exports, each a block.Device with a name, to any client: Linux's nbd-client, qemu, libnbd. It speaks
// the fixed newstyle handshake with GO, INFO, LIST, structured replies, base:allocation and STARTTLS, and READ, WRITE,
// FLUSH, TRIM, WRITE_ZEROES, CACHE and BLOCK_STATUS with all their flags. Clients may connect several times to one export
// (multi-conn): a flush on one connection covers what was acknowledged on any.
//
//	s := nbd.NewServer(nbd.Config{Exports: []nbd.Export{{Name: "disk", Device: dev}}})
//	err := s.Serve(ctx, listener)
//
// A Client is such an export as a block.Device.
//
// What a client sends is not trusted. One that breaks the protocol loses its connection, and a connection has bounded
// memory, so that none can hurt the others. Package wire has the messages.
package nbd
