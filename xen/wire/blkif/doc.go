// Package blkif is the protocol of Xen's paravirtual disks as values: requests and responses in the slots of a shared
// ring, and the nodes in xenstore by which a frontend and a backend agree on how to speak.
//
// # Layouts
//
// A slot's layout follows the C compiler of the frontend's kernel: a 32-bit x86 aligns 64-bit numbers to four bytes,
// everything else to eight. The frontend names its layout in its node "protocol"; where the node is missing, Linux's
// backend assumes 32-bit x86, and so does ParseProtocol. An ABI reads and writes slots of one layout. The shared ring
// itself is the same in all (package xen/ring).
//
// # Trust
//
// A slot is memory of the peer: take a copy of it first (ring.Back.Take does), decode the copy, Validate what was
// decoded, and use that. DecodeRequest keeps what the slot said, however wrong; Validate is where everything is
// checked that a request alone can tell. An indirect request's segments lie in further pages, which are copied the
// same way and checked by CheckSegments.
//
// Sectors count 512 bytes in every field and node, whatever the size of the disk's own sectors: blkif.h says so for
// the request, and all peers do so for the node "sectors" too.
//
// Nothing here allocates but what reads and makes nodes, and nothing blocks. All functions may be called concurrently.
//
// Sources: xen/include/public/io/{blkif,ring,protocols}.h of Xen 4.17 to 4.21; Linux's drivers for what peers do where
// the header leaves it open.
package blkif
