package sim

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"morgana/xen"
)

// memory is the machine's: frames in one memory file. Guarded by Host.mu.
type memory struct {
	fd     int
	frames uint32   // how many the file holds
	free   []uint32 // of these
	refs   []int32  // users of each frame: its owner and each mapping
	buried []*view  // closed views whose addresses are still reserved, oldest first
	views  uint64   // made so far
}

// graveyard is how many closed views keep their addresses, so that a use after close faults.
const graveyard = 512

// growth is by how many frames the memory file grows.
const growth = 256

func newMemory() (*memory, error) {
	fd, err := unix.MemfdCreate("xen-sim", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("sim: memfd_create: %w", err)
	}
	return &memory{fd: fd}, nil
}

func (m *memory) close() {
	for _, v := range m.buried {
		v.release()
	}
	unix.Close(m.fd)
}

// alloc takes n zeroed frames.
func (m *memory) alloc(n int) ([]uint32, error) {
	for len(m.free) < n {
		size := int64(m.frames+growth) * xen.PageSize
		if err := unix.Ftruncate(m.fd, size); err != nil {
			return nil, fmt.Errorf("%w: %w", xen.ErrNoMemory, err)
		}
		for i := range uint32(growth) {
			m.free = append(m.free, m.frames+growth-1-i)
			m.refs = append(m.refs, 0)
		}
		m.frames += growth
	}
	got := make([]uint32, n)
	for i := range got {
		got[i] = m.free[len(m.free)-1]
		m.free = m.free[:len(m.free)-1]
		m.refs[got[i]] = 1
	}
	return got, nil
}

// drop ends one use of a frame; a frame without users is zeroed and free.
func (m *memory) drop(f uint32, dirty bool) {
	if m.refs[f]--; m.refs[f] > 0 {
		return
	}
	if !dirty {
		_ = unix.Fallocate(m.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(f)*xen.PageSize, xen.PageSize)
	}
	m.free = append(m.free, f)
}

// view is a contiguous mapping of frames.
type view struct {
	base unsafe.Pointer
	size uintptr
	nr   uint64 // views are numbered as they are made
}

// mapFrames maps frames one after the other.
func (m *memory) mapFrames(frames []uint32, writable bool) (*view, error) {
	size := uintptr(len(frames)) * xen.PageSize
	base, err := unix.MmapPtr(-1, 0, nil, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", xen.ErrNoMemory, err)
	}
	m.views++
	v := &view{base: base, size: size, nr: m.views}
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	for i, f := range frames {
		at := unsafe.Add(base, i*xen.PageSize)
		if _, err := unix.MmapPtr(m.fd, int64(f)*xen.PageSize, at, xen.PageSize, prot, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
			v.release()
			return nil, fmt.Errorf("%w: %w", xen.ErrNoMemory, err)
		}
	}
	return v, nil
}

func (v *view) bytes() []byte { return unsafe.Slice((*byte)(v.base), v.size) }

// replace puts fresh anonymous memory where the frames were.
func (v *view) replace(prot int) {
	_, _ = unix.MmapPtr(-1, 0, v.base, v.size, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
}

// ghost lets a dead domain's goroutines go on in memory that nobody else sees.
func (v *view) ghost() { v.replace(unix.PROT_READ | unix.PROT_WRITE) }

func (v *view) release() { _ = unix.MunmapPtr(v.base, v.size) }

// bury makes every further access fault and keeps the addresses from being used again for a while.
func (m *memory) bury(v *view) {
	v.replace(unix.PROT_NONE)
	m.buried = append(m.buried, v)
	if len(m.buried) > graveyard {
		m.buried[0].release()
		m.buried = m.buried[1:]
	}
}

// readFrame and writeFrame are the hypervisor's own access, for copies.
func (m *memory) readFrame(f uint32, off int, b []byte) error {
	_, err := unix.Pread(m.fd, b, int64(f)*xen.PageSize+int64(off))
	return err
}

func (m *memory) writeFrame(f uint32, off int, b []byte) error {
	_, err := unix.Pwrite(m.fd, b, int64(f)*xen.PageSize+int64(off))
	return err
}
