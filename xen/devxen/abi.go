package devxen

import (
	"encoding/binary"

	"morgana/xen"
)

// Request numbers: _IOC(_IOC_NONE, type, number, size of the structure).
const (
	evtchnBindVIRQ        = 4<<16 | 'E'<<8 | 0
	evtchnBindInterdomain = 8<<16 | 'E'<<8 | 1
	evtchnBindUnbound     = 4<<16 | 'E'<<8 | 2
	evtchnUnbind          = 4<<16 | 'E'<<8 | 3
	evtchnNotify          = 4<<16 | 'E'<<8 | 4

	gntdevMap       = 24<<16 | 'G'<<8 | 0
	gntdevUnmap     = 16<<16 | 'G'<<8 | 1
	gntdevCopy      = 16<<16 | 'G'<<8 | 8
	gntallocAlloc   = 24<<16 | 'G'<<8 | 5
	gntallocDealloc = 16<<16 | 'G'<<8 | 6
)

// Flags of gntalloc and of copy segments, and the largest batches.
const (
	gntallocWritable = 1
	copySourceRef    = 1
	copyDestRef      = 2

	maxPages = 1024 // of one Share or Map
)

var le = binary.LittleEndian

// Status of one grant operation (grant_table.h, GNTST_*).
const (
	statusOK         int16 = 0
	statusGeneral    int16 = -1
	statusBadDomain  int16 = -2
	statusBadRef     int16 = -3
	statusPermission int16 = -8
	statusBadPage    int16 = -9
	statusBadCopyArg int16 = -10
	statusAgain      int16 = -12
	statusNoSpace    int16 = -13
)

// appendMapRequest appends struct ioctl_gntdev_map_grant_ref: u32 count, u32 pad, u64 index (out), then u32 domid,
// u32 ref for each page.
func appendMapRequest(dst []byte, peer xen.DomID, refs []xen.GrantRef) []byte {
	dst = le.AppendUint32(dst, uint32(len(refs)))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, 0)
	for _, r := range refs {
		dst = le.AppendUint32(dst, uint32(peer))
		dst = le.AppendUint32(dst, uint32(r))
	}
	return dst
}

// mapIndex is what gntdevMap left in its structure.
func mapIndex(b []byte) uint64 { return le.Uint64(b[8:]) }

// appendIndexCount appends struct ioctl_gntdev_unmap_grant_ref, which is struct ioctl_gntalloc_dealloc_gref too:
// u64 index, u32 count, u32 pad.
func appendIndexCount(dst []byte, index uint64, count int) []byte {
	dst = le.AppendUint64(dst, index)
	dst = le.AppendUint32(dst, uint32(count))
	return le.AppendUint32(dst, 0)
}

// appendAllocRequest appends struct ioctl_gntalloc_alloc_gref: u16 domid, u16 flags, u32 count, u64 index (out), then
// u32 references (out). The structure has room for one at least, and is padded to 8 bytes.
func appendAllocRequest(dst []byte, peer xen.DomID, pages int, access xen.Access) []byte {
	flags := uint16(gntallocWritable)
	if access == xen.ReadOnly {
		flags = 0
	}
	dst = le.AppendUint16(dst, uint16(peer))
	dst = le.AppendUint16(dst, flags)
	dst = le.AppendUint32(dst, uint32(pages))
	dst = le.AppendUint64(dst, 0)
	return append(dst, make([]byte, (4*pages+7)&^7)...)
}

// parseAlloc is what gntallocAlloc left in its structure.
func parseAlloc(b []byte, pages int) (index uint64, refs []xen.GrantRef) {
	refs = make([]xen.GrantRef, pages)
	for i := range refs {
		refs[i] = xen.GrantRef(le.Uint32(b[16+4*i:]))
	}
	return le.Uint64(b[8:]), refs
}

// foreign is a peer's side of a copy segment as one word: u32 ref, u16 offset, u16 domid.
func foreign(peer xen.DomID, ref xen.GrantRef, offset int) uint64 {
	return uint64(ref) | uint64(offset)<<32 | uint64(peer)<<48
}
