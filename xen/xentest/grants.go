package xentest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"morgana/xen"
)

func grantCases() []Case {
	return []Case{
		{Name: "grant/map", Initiator: shareI, Responder: mapR},
		{Name: "grant/batch", Initiator: batchI, Responder: batchR},
		{Name: "grant/copy", Initiator: copyI, Responder: copyR},
		{Name: "grant/read-only", Initiator: readOnlyI, Responder: readOnlyR},
		{Name: "grant/bad-refs", Initiator: badRefsI, Responder: badRefsR},
		{Name: "grant/revoke", Initiator: revokeI, Responder: revokeR},
		{Name: "grant/revoke-mapped", Initiator: revokeMappedI, Responder: revokeMappedR},
		{Name: "grant/exhaustion", Initiator: exhaustI, Responder: exhaustR},
	}
}

// pattern fills a page with bytes that tell one page, and one place in it, from another.
func pattern(b []byte, seed byte) {
	for i := range b {
		b[i] = byte(i)*7 + byte(i>>8)*31 + byte(i/xen.PageSize)*13 + seed
	}
}

func samePattern(what string, b []byte, seed byte) error {
	want := make([]byte, len(b))
	pattern(want, seed)
	for i := range b {
		if b[i] != want[i] {
			return fmt.Errorf("%s: page %d byte %d is %#x, want %#x", what, i/xen.PageSize, i%xen.PageSize, b[i], want[i])
		}
	}
	return nil
}

// shareI shares pages and sees what the peer writes; then the other way round.
func shareI(ctx context.Context, s *Session) error {
	g, err := s.Share(2, xen.ReadWrite)
	if err != nil {
		return err
	}
	if len(g.Refs()) != 2 || len(g.Bytes()) != 2*xen.PageSize {
		return fmt.Errorf("share of 2 pages gave %d references and %d bytes", len(g.Refs()), len(g.Bytes()))
	}
	if i := firstNonZero(g.Bytes()); i >= 0 {
		return fmt.Errorf("new shared pages are not zero at byte %d", i)
	}
	pattern(g.Bytes(), 1)
	if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
		return err
	}
	if err := s.Step(ctx, "written"); err != nil {
		return err
	}
	if err := samePattern("what the peer wrote", g.Bytes(), 2); err != nil {
		return err
	}
	pattern(g.Bytes(), 3)
	if err := s.Step(ctx, "again"); err != nil {
		return err
	}
	if err := s.Step(ctx, "unmapped"); err != nil {
		return err
	}
	if err := g.Close(); err != nil {
		return fmt.Errorf("close after the peer unmapped: %w", err)
	}
	return g.Close()
}

func mapR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	m, err := s.Map(refs, xen.ReadWrite)
	if err != nil {
		return err
	}
	if len(m.Bytes()) != len(refs)*xen.PageSize {
		return fmt.Errorf("mapping of %d pages has %d bytes", len(refs), len(m.Bytes()))
	}
	if err := samePattern("what the peer shared", m.Bytes(), 1); err != nil {
		return err
	}
	pattern(m.Bytes(), 2)
	if err := s.Step(ctx, "written"); err != nil {
		return err
	}
	if err := s.Step(ctx, "again"); err != nil {
		return err
	}
	if err := samePattern("what the peer wrote later", m.Bytes(), 3); err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return fmt.Errorf("second close: %w", err)
	}
	return s.Step(ctx, "unmapped")
}

func firstNonZero(b []byte) int {
	return bytes.IndexFunc(b, func(r rune) bool { return r != 0 })
}

const batchPages = 64

// batchI shares many pages; the peer maps them in another order, in one call.
func batchI(ctx context.Context, s *Session) error {
	g, err := s.Share(batchPages, xen.ReadWrite)
	if err != nil {
		return err
	}
	for i := range batchPages {
		g.Bytes()[i*xen.PageSize+i] = byte(i + 1)
	}
	if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
		return err
	}
	if err := s.Step(ctx, "mapped"); err != nil {
		return err
	}
	for i := range batchPages {
		if got := g.Bytes()[i*xen.PageSize+100+i]; got != byte(200-i) {
			return fmt.Errorf("page %d: peer wrote %d, want %d", i, got, byte(200-i))
		}
	}
	return nil
}

func batchR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	n := len(refs)
	back := make([]xen.GrantRef, n)
	for i, r := range refs {
		back[n-1-i] = r
	}
	m, err := s.Map(back, xen.ReadWrite)
	if err != nil {
		return err
	}
	for i := range n {
		page := m.Bytes()[(n-1-i)*xen.PageSize:]
		if page[i] != byte(i+1) {
			return fmt.Errorf("page %d of the batch shows %d, want %d", i, page[i], i+1)
		}
		page[100+i] = byte(200 - i)
	}
	// All or none: one bad reference spoils the batch.
	bad := append(append([]xen.GrantRef(nil), refs[:8]...), unusedRef)
	if _, err := s.Map(bad, xen.ReadWrite); err != nil {
		if err := expect("map of a batch with a bad reference", err, xen.ErrBadGrant); err != nil {
			return err
		}
	} else {
		return errors.New("map of a batch with a bad reference succeeded")
	}
	return s.Step(ctx, "mapped")
}

// unusedRef is a reference that no grant table of a default size has.
const unusedRef xen.GrantRef = 0x7ffffff0

// copyI shares; the peer copies in and out without mapping.
func copyI(ctx context.Context, s *Session) error {
	g, err := s.Share(2, xen.ReadWrite)
	if err != nil {
		return err
	}
	pattern(g.Bytes(), 5)
	ro, err := s.Share(1, xen.ReadOnly)
	if err != nil {
		return err
	}
	pattern(ro.Bytes(), 6)
	if err := s.PutRefs(ctx, "refs", append(append([]xen.GrantRef(nil), g.Refs()...), ro.Refs()...)); err != nil {
		return err
	}
	if err := s.Step(ctx, "copied"); err != nil {
		return err
	}
	want := make([]byte, 2*xen.PageSize)
	pattern(want, 5)
	copy(want[100:], "hello")
	copy(want[2*xen.PageSize-5:], "world")
	if !bytes.Equal(want, g.Bytes()) {
		return errors.New("the pages are not what the peer's copies should have made of them")
	}
	return samePattern("read-only page after the peer's copies", ro.Bytes(), 6)
}

func copyR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	all := make([]byte, 3*xen.PageSize)
	ops := []xen.CopyOp{
		{Peer: s.Peer, Ref: refs[0], Local: all[:xen.PageSize]},
		{Peer: s.Peer, Ref: refs[1], Local: all[xen.PageSize : 2*xen.PageSize]},
		{Peer: s.Peer, Ref: refs[2], Offset: 10, Local: all[2*xen.PageSize+10:]},
	}
	if err := s.Dom.Copy(ops); err != nil {
		return fmt.Errorf("copy from the peer: %w", err)
	}
	if err := samePattern("copied pages", all[:2*xen.PageSize], 5); err != nil {
		return err
	}
	page := make([]byte, xen.PageSize)
	pattern(page, 6)
	if !bytes.Equal(page[10:], all[2*xen.PageSize+10:]) {
		return errors.New("copy from an offset gave other bytes")
	}
	ops = []xen.CopyOp{
		{Peer: s.Peer, Ref: refs[0], Offset: 100, Local: []byte("hello"), ToPeer: true},
		{Peer: s.Peer, Ref: refs[2], Local: []byte("forbidden"), ToPeer: true},
		{Peer: s.Peer, Ref: unusedRef, Local: make([]byte, 8)},
		{Peer: s.Peer, Ref: refs[1], Offset: xen.PageSize - 5, Local: []byte("world"), ToPeer: true},
		{Peer: s.Peer, Ref: refs[1], Offset: xen.PageSize - 4, Local: []byte("world"), ToPeer: true},
	}
	err = s.Dom.Copy(ops)
	if err == nil {
		return errors.New("copy of a batch with bad operations returned no error")
	}
	for i, good := range []bool{true, false, false, true, false} {
		if (ops[i].Err == nil) != good {
			return fmt.Errorf("operation %d of the copy batch: error %v, want success %v", i, ops[i].Err, good)
		}
	}
	if err := expect("copy into a read-only grant", ops[1].Err, xen.ErrBadGrant, xen.ErrPermission); err != nil {
		return err
	}
	if err := expect("copy from a grant that does not exist", ops[2].Err, xen.ErrBadGrant); err != nil {
		return err
	}
	return s.Step(ctx, "copied")
}

func readOnlyI(ctx context.Context, s *Session) error {
	g, err := s.Share(1, xen.ReadOnly)
	if err != nil {
		return err
	}
	pattern(g.Bytes(), 9)
	if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
		return err
	}
	rw, err := s.Share(1, xen.ReadWrite)
	if err != nil {
		return err
	}
	pattern(rw.Bytes(), 10)
	if err := s.PutRefs(ctx, "writable", rw.Refs()); err != nil {
		return err
	}
	if err := s.Step(ctx, "tried"); err != nil {
		return err
	}
	if err := samePattern("read-only page after the peer's stores", g.Bytes(), 9); err != nil {
		return err
	}
	return samePattern("writable page mapped read-only after the peer's stores", rw.Bytes(), 10)
}

// readOnlyR may map a read-only grant read-only alone, and no store gets through a read-only mapping.
func readOnlyR(ctx context.Context, s *Session) error {
	ro, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	if _, err := s.Map(ro, xen.ReadWrite); err == nil {
		return errors.New("a read-only grant could be mapped for writing")
	} else if err := expect("map of a read-only grant for writing", err, xen.ErrBadGrant, xen.ErrPermission); err != nil {
		return err
	}
	rw, err := s.GetRefs(ctx, "writable")
	if err != nil {
		return err
	}
	for i, refs := range [][]xen.GrantRef{ro, rw} {
		m, err := s.Map(refs, xen.ReadOnly)
		if err != nil {
			return err
		}
		if err := samePattern("read-only mapping", m.Bytes(), byte(9+i)); err != nil {
			return err
		}
		if !storeFaults(&m.Bytes()[17]) {
			return errors.New("a store into a read-only mapping did not fault")
		}
		if err := m.Close(); err != nil {
			return err
		}
	}
	return s.Step(ctx, "tried")
}

// storeFaults stores into memory and reports whether that faulted.
func storeFaults(p *byte) (faulted bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { faulted = recover() != nil }()
	*p ^= 0xff
	return false
}

func badRefsI(ctx context.Context, s *Session) error {
	g, err := s.Dom.Share(s.stranger(), 1, xen.ReadWrite)
	if err != nil {
		return err
	}
	s.Defer(func() { _ = g.Close() })
	if err := s.PutRefs(ctx, "strangers", g.Refs()); err != nil {
		return err
	}
	return s.Step(ctx, "tried")
}

func badRefsR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "strangers")
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what string
		refs []xen.GrantRef
	}{
		{"map of a page shared with another domain", refs},
		{"map of a reference beyond the grant table", []xen.GrantRef{unusedRef}},
		{"map of reference 2^32-1", []xen.GrantRef{^xen.GrantRef(0)}},
	} {
		_, err := s.Map(c.refs, xen.ReadOnly)
		if err := expect(c.what, err, xen.ErrBadGrant); err != nil {
			return err
		}
		// A copy fails for its own reason, and says so of the operation.
		op := []xen.CopyOp{{Peer: s.Peer, Ref: c.refs[0], Local: make([]byte, 16)}}
		if err := refused("copy instead of "+c.what, s.Dom.Copy(op)); err != nil {
			return err
		}
		if op[0].Err == nil {
			return fmt.Errorf("copy instead of %s: the operation's own error is nil", c.what)
		}
	}
	for _, n := range []int{0, 1025} {
		_, err := s.Map(make([]xen.GrantRef, n), xen.ReadOnly)
		if err := expect(fmt.Sprintf("map of %d pages", n), err, xen.ErrInvalid); err != nil {
			return err
		}
		_, err = s.Share(n, xen.ReadOnly)
		if err := expect(fmt.Sprintf("share of %d pages", n), err, xen.ErrInvalid); err != nil {
			return err
		}
	}
	return s.Step(ctx, "tried")
}
