package unikernel

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"morgana/unikernel/internal/abi"
	"morgana/xen"
)

// Limits of arenas.
const (
	ArenaNameMax = 31      // bytes of a name
	ArenaMax     = 1 << 34 // bytes of an arena
	Arenas       = 64      // arenas of a domain
)

// What callers of the functions about arenas can act on.
var (
	// ErrArenaSize says that an arena of that name has another size. It keeps it until the domain ends.
	ErrArenaSize = errors.New("the arena exists with another size")
	// ErrNotArena says that the memory is no page of an arena.
	ErrNotArena = errors.New("not one whole page of an arena")
)

// Arena returns size bytes of zeroed memory outside of the Go heap, page by page, that survive a restart in place: the
// same name and size give the same memory, at the same address, afterwards. It is never freed. On Linux the memory
// lives as long as the process.
func Arena(name string, size int) ([]byte, error) {
	if name == "" || len(name) > ArenaNameMax {
		return nil, fmt.Errorf("unikernel: arena %q: a name has 1 to %d bytes", name, ArenaNameMax)
	}
	if size < 1 || size > ArenaMax {
		return nil, fmt.Errorf("unikernel: arena %q of %d bytes: want 1 to %d", name, size, ArenaMax)
	}
	pages := (size + abi.Page - 1) / abi.Page
	if !Booted() {
		return linuxArenas.get(name, size, pages)
	}
	address, err := callArena(name, pages)
	switch {
	case errors.Is(err, syscall.EEXIST):
		return nil, fmt.Errorf("unikernel: arena %q of %d bytes: %w", name, size, ErrArenaSize)
	case errors.Is(err, syscall.ENOMEM):
		return nil, fmt.Errorf("unikernel: arena %q of %d bytes: %d are free; give the domain more memory: %w",
			name, size, Counters().FreePages*abi.Page, xen.ErrNoMemory)
	case errors.Is(err, syscall.ENOSPC):
		return nil, fmt.Errorf("unikernel: arena %q: a domain has at most %d: %w", name, Arenas, xen.ErrNoMemory)
	case err != nil:
		return nil, fail(fmt.Sprintf("arena %q", name), err)
	}
	return memory(address, size), nil
}

// ShareArena lets domain peer map or copy one page of an arena: page is its bytes, all xen.PageSize of them or the
// last of the arena. The grant survives restarts in place; keep the reference in an arena. EndShare ends it.
func ShareArena(page []byte, peer xen.DomID, access xen.Access) (xen.GrantRef, error) {
	if len(page) == 0 || len(page) > abi.Page {
		return 0, fmt.Errorf("unikernel: share %d bytes: %w", len(page), ErrNotArena)
	}
	var flags uintptr
	if access == xen.ReadOnly {
		flags = 1
	}
	ref, err := callShare(page, uintptr(peer), flags)
	switch {
	case errors.Is(err, syscall.EFAULT):
		return 0, fmt.Errorf("unikernel: share a page with domain %d: %w", peer, ErrNotArena)
	case errors.Is(err, syscall.ENOSPC):
		return 0, fmt.Errorf("unikernel: share a page with domain %d: %w", peer, xen.ErrNoGrants)
	}
	return xen.GrantRef(ref), fail(fmt.Sprintf("share a page with domain %d", peer), err)
}

// EndShare ends a grant that ShareArena made. While the peer maps the page it fails with an error matching
// xen.ErrInUse, and the grant stays: try again later, the page is the arena's all the time.
func EndShare(ref xen.GrantRef) error {
	_, err := call(abi.SysArenaEnd, uintptr(ref), 0, 0)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("unikernel: end grant %d: %w", ref, xen.ErrInUse)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("unikernel: end grant %d: %w", ref, xen.ErrBadGrant)
	}
	return fail(fmt.Sprintf("end grant %d", ref), err)
}

// linuxArenas stands in for the kernel's table, so that a name means the same memory everywhere in a program.
var linuxArenas arenaTable

type arenaTable struct {
	mu     sync.Mutex
	arenas map[string][]byte
}

func (t *arenaTable) get(name string, size, pages int) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, ok := t.arenas[name]
	switch {
	case ok && len(b) != pages*abi.Page:
		return nil, fmt.Errorf("unikernel: arena %q of %d bytes: %w", name, size, ErrArenaSize)
	case ok:
		return b[:size:size], nil
	case len(t.arenas) == Arenas:
		return nil, fmt.Errorf("unikernel: arena %q: a domain has at most %d: %w", name, Arenas, xen.ErrNoMemory)
	}
	b, err := syscall.Mmap(-1, 0, pages*abi.Page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("unikernel: arena %q of %d bytes: %w: %w", name, size, xen.ErrNoMemory, err)
	}
	if t.arenas == nil {
		t.arenas = make(map[string][]byte)
	}
	t.arenas[name] = b
	return b[:size:size], nil
}
