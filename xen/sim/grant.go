package sim

import (
	"fmt"

	"morgana/xen"
)

// firstRef is the first grant reference that is not reserved (GNTTAB_NR_RESERVED_ENTRIES).
const firstRef = 8

// batchMax is how many pages one call takes.
const batchMax = 1024

// entry is one slot of a grant table.
type entry struct {
	used     bool
	permit   bool // the peer may map; false while parked
	peer     xen.DomID
	readOnly bool
	frame    uint32
	pins     int // mappings
}

type grant struct {
	d      *Domain
	refs   []xen.GrantRef
	bytes  []byte
	view   *view
	closed bool
}

// Share implements xen.Granter.
func (d *Domain) Share(peer xen.DomID, pages int, access xen.Access) (xen.Grant, error) {
	return d.share(peer, pages, access, firstRef)
}

// ShareConsole shares a domain's console page with who serves it, as the tool stack does: by the reserved reference
// xen.GrantConsole. It fails with an error matching xen.ErrInUse where that is shared already.
func (d *Domain) ShareConsole(peer xen.DomID) (xen.Grant, error) {
	return d.share(peer, 1, xen.ReadWrite, xen.GrantConsole)
}

// share shares pages by any references from firstRef on, or a page by a reserved one.
func (d *Domain) share(peer xen.DomID, pages int, access xen.Access, ref xen.GrantRef) (xen.Grant, error) {
	object := fmt.Sprintf("%d pages with %s", pages, domainName(peer))
	fail := func(err error) (xen.Grant, error) {
		return nil, &xen.Error{Op: "share", Object: object, Err: err}
	}
	if pages < 1 || pages > batchMax {
		return fail(fmt.Errorf("%w: 1 to %d pages in one call", xen.ErrInvalid, batchMax))
	}
	if err := d.begin("share", object, true); err != nil {
		return nil, err
	}
	h := d.host
	defer h.mu.Unlock()
	if len(d.freeRefs)+h.limits.Grants-max(len(d.entries), firstRef) < pages {
		return fail(xen.ErrNoGrants)
	}
	if len(d.entries) < firstRef {
		d.entries = make([]entry, firstRef)
	}
	if ref < firstRef && d.entries[ref].used {
		return fail(xen.ErrInUse)
	}
	if d.pages+pages > h.limits.Pages {
		return fail(xen.ErrNoMemory)
	}
	frames, err := h.mem.alloc(pages)
	if err != nil {
		return fail(err)
	}
	v, err := h.mem.mapFrames(frames, true)
	if err != nil {
		for _, f := range frames {
			h.mem.drop(f, false)
		}
		return fail(err)
	}
	g := &grant{d: d, refs: make([]xen.GrantRef, pages), view: v, bytes: v.bytes()}
	for i := range g.refs {
		if g.refs[i] = ref; ref >= firstRef {
			g.refs[i] = d.newRefLocked()
		}
		d.entries[g.refs[i]] = entry{used: true, permit: true, peer: peer, readOnly: access == xen.ReadOnly, frame: frames[i]}
	}
	d.pages += pages
	d.keepLocked(v)
	return g, nil
}

func (d *Domain) newRefLocked() xen.GrantRef {
	if n := len(d.freeRefs); n > 0 {
		r := d.freeRefs[n-1]
		d.freeRefs = d.freeRefs[:n-1]
		return r
	}
	d.entries = append(d.entries, entry{})
	return xen.GrantRef(len(d.entries) - 1)
}

func (d *Domain) keepLocked(v *view) {
	if d.views == nil {
		d.views = make(map[*view]bool)
	}
	d.views[v] = true
}

func (g *grant) Refs() []xen.GrantRef { return g.refs }
func (g *grant) Bytes() []byte        { return g.bytes }

// Close implements xen.Grant. References that the peer maps are parked until it unmaps them.
func (g *grant) Close() error {
	d := g.d
	h := d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.closed || d.dead {
		g.closed = true
		return nil
	}
	g.closed = true
	delete(d.views, g.view)
	h.mem.bury(g.view)
	busy := 0
	for _, r := range g.refs {
		if d.endLocked(r) {
			busy++
		}
	}
	if busy > 0 {
		return &xen.Error{
			Op: "close", Object: fmt.Sprintf("grant %d and %d more", g.refs[0], len(g.refs)-1),
			Err: fmt.Errorf("%d pages: %w", busy, xen.ErrInUse),
		}
	}
	return nil
}

// endLocked ends access through r and reports whether the peer still maps it.
func (d *Domain) endLocked(r xen.GrantRef) (busy bool) {
	h := d.host
	e := &d.entries[r]
	if h.defects[MapAfterRevoke] && !d.dead && e.pins == 0 {
		return false // the entry stays as it is, and so does the page
	}
	e.permit = false
	if e.pins > 0 && !(h.defects[ReuseMappedPage] && !d.dead) {
		return true
	}
	if e.pins > 0 { // the defect: the page goes although it is mapped
		h.mem.refs[e.frame] = 1
	}
	d.freeLocked(r)
	return false
}

// freeLocked gives an entry and its page back.
func (d *Domain) freeLocked(r xen.GrantRef) {
	e := &d.entries[r]
	d.host.mem.drop(e.frame, d.host.defects[DirtyPages])
	*e = entry{}
	d.pages--
	if d.host.defects[LeakGrants] {
		d.pages++
		return
	}
	if r >= firstRef {
		d.freeRefs = append(d.freeRefs, r)
	}
}

type mapping struct {
	d      *Domain
	owner  *Domain
	refs   []xen.GrantRef
	frames []uint32
	bytes  []byte
	view   *view
	closed bool
}

// lookupLocked finds the entry of a grant of peer for us.
func (d *Domain) lookupLocked(peer xen.DomID, ref xen.GrantRef, write bool) (*Domain, *entry, error) {
	h := d.host
	owner := h.domains[peer]
	if owner == nil {
		return nil, nil, fmt.Errorf("%s: %w", domainName(peer), xen.ErrPeerGone)
	}
	if int64(ref) >= int64(len(owner.entries)) || !owner.entries[ref].used || !owner.entries[ref].permit {
		return nil, nil, fmt.Errorf("reference %d of %s: %w: it does not exist", ref, domainName(peer), xen.ErrBadGrant)
	}
	e := &owner.entries[ref]
	if e.peer != d.id && !h.defects[ForeignGrants] {
		return nil, nil, fmt.Errorf("reference %d of %s: %w: it is not for domain %d", ref, domainName(peer), xen.ErrBadGrant, d.id)
	}
	if write && e.readOnly {
		return nil, nil, fmt.Errorf("reference %d of %s: %w: it is read-only", ref, domainName(peer), xen.ErrBadGrant)
	}
	return owner, e, nil
}

// Map implements xen.Mapper.
func (d *Domain) Map(peer xen.DomID, refs []xen.GrantRef, access xen.Access) (xen.Mapping, error) {
	object := fmt.Sprintf("%d pages of %s", len(refs), domainName(peer))
	fail := func(err error) (xen.Mapping, error) {
		return nil, &xen.Error{Op: "map", Object: object, Err: err}
	}
	if len(refs) < 1 || len(refs) > batchMax {
		return fail(fmt.Errorf("%w: 1 to %d pages in one call", xen.ErrInvalid, batchMax))
	}
	if err := d.begin("map", object, true); err != nil {
		return nil, err
	}
	h := d.host
	defer h.mu.Unlock()
	m := &mapping{d: d}
	for _, r := range refs {
		owner, e, err := d.lookupLocked(peer, r, access == xen.ReadWrite && !h.defects[WriteReadOnlyGrant])
		if err != nil {
			if h.defects[PartialBatch] && len(m.refs) > 0 {
				continue
			}
			return fail(err)
		}
		m.owner = owner
		m.refs = append(m.refs, r)
		m.frames = append(m.frames, e.frame)
	}
	if h.defects[BatchReversed] {
		for i, j := 0, len(m.frames)-1; i < j; i, j = i+1, j-1 {
			m.frames[i], m.frames[j] = m.frames[j], m.frames[i]
		}
	}
	v, err := h.mem.mapFrames(m.frames, access == xen.ReadWrite || h.defects[ReadOnlyWritable])
	if err != nil {
		return fail(err)
	}
	m.view, m.bytes = v, v.bytes()
	for i, r := range m.refs {
		m.owner.entries[r].pins++
		h.mem.refs[m.frames[i]]++
	}
	d.keepLocked(v)
	if d.maps == nil {
		d.maps = make(map[*mapping]bool)
	}
	d.maps[m] = true
	return m, nil
}

func (m *mapping) Bytes() []byte { return m.bytes }

// Close implements xen.Mapping.
func (m *mapping) Close() error {
	h := m.d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.closed || m.d.dead {
		return nil
	}
	m.unpinLocked()
	delete(m.d.views, m.view)
	h.mem.bury(m.view)
	return nil
}

// unpinLocked ends the use of the frames and gives back entries that were parked.
func (m *mapping) unpinLocked() {
	h := m.d.host
	m.closed = true
	delete(m.d.maps, m)
	for i, r := range m.refs {
		e := &m.owner.entries[r]
		if !e.used || e.frame != m.frames[i] && !h.defects[BatchReversed] {
			continue // only after the defect ReuseMappedPage
		}
		h.mem.drop(m.frames[i], false)
		if e.pins--; e.pins == 0 && !e.permit {
			m.owner.freeLocked(r)
		}
	}
}

// Copy implements xen.Copier.
func (d *Domain) Copy(ops []xen.CopyOp) error {
	if err := d.begin("copy", "a batch", false); err != nil {
		for i := range ops {
			ops[i].Err = err
		}
		return err
	}
	defer d.host.mu.Unlock()
	var first error
	for i := range ops {
		op := &ops[i]
		if op.Err = d.copyLocked(op); op.Err != nil {
			op.Err = &xen.Error{Op: "copy", Object: fmt.Sprintf("%s grant %d", domainName(op.Peer), op.Ref), Err: op.Err}
			if first == nil {
				first = op.Err
			}
		}
	}
	return first
}

func (d *Domain) copyLocked(op *xen.CopyOp) error {
	if op.Offset < 0 || op.Offset > xen.PageSize || len(op.Local) > xen.PageSize-op.Offset {
		return fmt.Errorf("%w: %d bytes at offset %d leave the page", xen.ErrInvalid, len(op.Local), op.Offset)
	}
	_, e, err := d.lookupLocked(op.Peer, op.Ref, op.ToPeer && !d.host.defects[CopyIntoReadOnly])
	if err != nil {
		return err
	}
	if op.ToPeer {
		return d.host.mem.writeFrame(e.frame, op.Offset, op.Local)
	}
	return d.host.mem.readFrame(e.frame, op.Offset, op.Local)
}
