package blkback

import (
	"time"

	"morgana/xen"
)

// How long pages stay mapped, as Linux's backend does it (drivers/block/xen-blkback/blkback.c).
const (
	keptIdle    = time.Minute            // unused for so long, a page is unmapped
	trimEvery   = 100 * time.Millisecond // where there are too many, some are unmapped, so often
	trimPercent = 5                      // and so many
	// mapPause is how long nothing is mapped after a mapping failed: a failure costs a machine more than a success,
	// and a copy does as well.
	mapPause = time.Second
	// groupPages is how many pages are mapped, and unmapped, together.
	groupPages = 16
)

// kept is the pages of a frontend that stay mapped from one request to the next (feature-persistent), by their grant
// reference. The most recently used are at the front of a list, from whose end pages are unmapped.
type kept struct {
	mapper xen.Mapper
	peer   xen.DomID
	max    int

	index   map[xen.GrantRef]keptPage
	count   int          // references in index
	list    keptGroup    // the list's head and end
	missing []*keptGroup // to be mapped by mapMissing
	full    bool         // something did not fit since the last trim
	trimmed time.Duration
	until   time.Duration // nothing is mapped before
}

// keptPage is page n of a group.
type keptPage struct {
	g *keptGroup
	n int
}

func (p keptPage) bytes() []byte {
	return p.g.bytes[p.n*xen.PageSize : (p.n+1)*xen.PageSize : (p.n+1)*xen.PageSize]
}

// keptGroup is pages that were mapped together.
type keptGroup struct {
	refs       []xen.GrantRef
	mapping    xen.Mapping
	bytes      []byte // nil until mapped, and if that failed
	users      int    // calls that use it
	used       time.Duration
	prev, next *keptGroup
}

func newKept(mapper xen.Mapper, peer xen.DomID, limit int) *kept {
	k := &kept{mapper: mapper, peer: peer, max: limit, index: make(map[xen.GrantRef]keptPage, limit)}
	k.list.prev, k.list.next = &k.list, &k.list
	return k
}

// find gives the page of a reference, one that mapMissing will map if it is not mapped yet. ok is false if there is no
// room for it now.
func (k *kept) find(ref xen.GrantRef, now time.Duration) (p keptPage, ok bool) {
	if p, ok = k.index[ref]; ok {
		if p.g.used != now && p.g.bytes != nil {
			p.g.used = now
			k.front(p.g)
		}
		return p, true
	}
	switch {
	case now < k.until:
		return p, false
	case k.count >= k.max:
		k.full = true
		return p, false
	}
	n := len(k.missing)
	if n == 0 || len(k.missing[n-1].refs) == groupPages {
		k.missing = append(k.missing, &keptGroup{refs: make([]xen.GrantRef, 0, groupPages), used: now})
		n++
	}
	g := k.missing[n-1]
	p = keptPage{g, len(g.refs)}
	g.refs = append(g.refs, ref)
	k.index[ref] = p
	k.count++
	return p, true
}

// mapMissing maps what find promised. Groups that cannot be mapped have no bytes afterwards, and are forgotten.
func (k *kept) mapMissing(now time.Duration) {
	for i, g := range k.missing {
		k.missing[i] = nil
		m, err := k.mapper.Map(k.peer, g.refs, xen.ReadWrite)
		if err != nil {
			k.forget(g)
			k.until = now + mapPause
			continue
		}
		g.mapping, g.bytes = m, m.Bytes()
		k.front(g)
	}
	k.missing = k.missing[:0]
}

func (k *kept) front(g *keptGroup) {
	k.unlink(g)
	g.prev, g.next = &k.list, k.list.next
	g.prev.next, g.next.prev = g, g
}

func (k *kept) unlink(g *keptGroup) {
	if g.next != nil {
		g.prev.next, g.next.prev = g.next, g.prev
		g.prev, g.next = nil, nil
	}
}

func (k *kept) forget(g *keptGroup) {
	for _, r := range g.refs {
		delete(k.index, r)
	}
	k.count -= len(g.refs)
}

// drop unmaps a group that nobody uses.
func (k *kept) drop(g *keptGroup) {
	k.unlink(g)
	k.forget(g)
	// Xen cannot refuse to unmap what it mapped; a domain that is gone is no longer ours to care for.
	_ = g.mapping.Close()
	g.bytes = nil
}

// trim unmaps what was not used for a while, and some of the oldest if there was no room.
func (k *kept) trim(now time.Duration) {
	if now-k.trimmed < trimEvery {
		return
	}
	k.trimmed = now
	want := 0
	if k.full {
		want = max(k.max*trimPercent/100, 1)
		k.full = false
	}
	for g := k.list.prev; g != &k.list; {
		next := g.prev
		if now-g.used < keptIdle && want <= 0 {
			return
		}
		if g.users == 0 {
			want -= len(g.refs)
			k.drop(g)
		}
		g = next
	}
}

// dropAll unmaps everything; no call is under way.
func (k *kept) dropAll() {
	for g := k.list.prev; g != &k.list; g = k.list.prev {
		k.drop(g)
	}
}
