package xentest

import (
	"context"
	"errors"
	"fmt"

	"morgana/xen"
)

// revokeI closes a grant that nobody maps: the peer cannot map or copy it any more.
func revokeI(ctx context.Context, s *Session) error {
	g, err := s.Share(1, xen.ReadWrite)
	if err != nil {
		return err
	}
	pattern(g.Bytes(), 15)
	if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
		return err
	}
	if err := s.Step(ctx, "unmapped"); err != nil {
		return err
	}
	if err := g.Close(); err != nil {
		return fmt.Errorf("close of a grant that is not mapped: %w", err)
	}
	// Pages that are used again must not show a peer what was in them.
	again, err := s.Dom.Share(s.Peer, 4, xen.ReadWrite)
	if err != nil {
		return err
	}
	at := firstNonZero(again.Bytes())
	if err := again.Close(); err != nil {
		return err
	}
	if at >= 0 {
		return fmt.Errorf("new shared pages are not zero at byte %d", at)
	}
	if err := s.Step(ctx, "revoked"); err != nil {
		return err
	}
	return s.Step(ctx, "tried")
}

func revokeR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	m, err := s.Map(refs, xen.ReadWrite)
	if err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	if err := s.Step(ctx, "unmapped"); err != nil {
		return err
	}
	if err := s.Step(ctx, "revoked"); err != nil {
		return err
	}
	_, err = s.Map(refs, xen.ReadWrite)
	if err := expect("map after the peer revoked", err, xen.ErrBadGrant); err != nil {
		return err
	}
	err = s.Dom.Copy([]xen.CopyOp{{Peer: s.Peer, Ref: refs[0], Local: make([]byte, 8)}})
	if err := expect("copy after the peer revoked", err, xen.ErrBadGrant); err != nil {
		return err
	}
	return s.Step(ctx, "tried")
}

// revokeMappedI closes a grant that the peer maps. The page must be parked: what is shared afterwards must lie
// elsewhere, or the peer would see it.
func revokeMappedI(ctx context.Context, s *Session) error {
	g, err := s.Share(1, xen.ReadWrite)
	if err != nil {
		return err
	}
	pattern(g.Bytes(), 20)
	old := g.Refs()[0]
	if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
		return err
	}
	if err := s.Step(ctx, "mapped"); err != nil {
		return err
	}
	// An implementation that cannot know may return nil; one that knows says ErrInUse.
	if err := g.Close(); err != nil && !errors.Is(err, xen.ErrInUse) {
		return fmt.Errorf("close of a grant that is mapped: %w", err)
	}
	for i := range 8 {
		h, err := s.Share(4, xen.ReadWrite)
		if err != nil {
			return err
		}
		pattern(h.Bytes(), byte(100+i))
		for _, r := range h.Refs() {
			if r == old {
				return fmt.Errorf("grant reference %d was given out again while the peer maps it", r)
			}
		}
	}
	if err := s.Step(ctx, "shared-others"); err != nil {
		return err
	}
	return s.Step(ctx, "looked")
}

func revokeMappedR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	m, err := s.Map(refs, xen.ReadWrite)
	if err != nil {
		return err
	}
	if err := s.Step(ctx, "mapped"); err != nil {
		return err
	}
	if err := s.Step(ctx, "shared-others"); err != nil {
		return err
	}
	if err := samePattern("page that was revoked while mapped", m.Bytes(), 20); err != nil {
		return err
	}
	if err := m.Close(); err != nil {
		return err
	}
	return s.Step(ctx, "looked")
}

// exhaustI shares until it is refused, and then gives all back: it must be able to share again.
func exhaustI(ctx context.Context, s *Session) error {
	var (
		grants []xen.Grant
		taken  int
		err    error
	)
	for taken < s.maxGrants() && ctx.Err() == nil {
		var g xen.Grant
		if g, err = s.Dom.Share(s.Peer, 256, xen.ReadWrite); err != nil {
			break
		}
		grants = append(grants, g)
		taken += 256
	}
	for _, g := range grants {
		if cerr := g.Close(); cerr != nil {
			return fmt.Errorf("close of unmapped pages: %w", cerr)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		return fmt.Errorf("%d pages were shared without meeting a limit", taken)
	}
	if err := expect(fmt.Sprintf("share after %d pages", taken), err, xen.ErrNoGrants, xen.ErrNoMemory); err != nil {
		return err
	}
	s.Figure("pages shared at the limit", float64(taken), "pages")
	g, err := s.Share(256, xen.ReadWrite)
	if err != nil {
		return fmt.Errorf("share after all was given back: %w", err)
	}
	if err := s.PutRefs(ctx, "refs", g.Refs()[:4]); err != nil {
		return err
	}
	return s.Step(ctx, "mapped")
}

func exhaustR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	if _, err := s.Map(refs, xen.ReadWrite); err != nil {
		return err
	}
	return s.Step(ctx, "mapped")
}
