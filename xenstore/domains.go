package xenstore

import (
	"context"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// DomainPath returns the home of a domain: "/local/domain/5". The domain need not exist.
func (c *Client) DomainPath(ctx context.Context, d xen.DomID) (string, error) {
	s, err := c.domain(ctx, xs.GetDomainPath, d)
	return s, fail("get path of", xs.DomainPath(d), err)
}

// IsIntroduced reports whether a domain is known to the service. Only dom0 may ask.
func (c *Client) IsIntroduced(ctx context.Context, d xen.DomID) (bool, error) {
	s, err := c.domain(ctx, xs.IsDomainIntroduced, d)
	if err == nil && s != "T" && s != "F" {
		err = c.broken(ErrInvalid)
	}
	return s == "T", fail("ask for", xs.DomainPath(d), err)
}

// Introduce tells the service of a new domain: the frame of its ring page and the port that the domain's builder
// made for the service. Only dom0 may.
func (c *Client) Introduce(ctx context.Context, d xen.DomID, gfn uint64, port xen.Port) error {
	_, err := c.do(ctx, xs.Introduce, 0, xs.AppendIntroduce(nil, d, gfn, port), nil)
	return fail("introduce", xs.DomainPath(d), err)
}

// Release tells the service that a domain is gone. Only dom0 may.
func (c *Client) Release(ctx context.Context, d xen.DomID) error {
	_, err := c.domain(ctx, xs.Release, d)
	return fail("release", xs.DomainPath(d), err)
}

// Resume tells the service that a domain that was shut down goes on. Only dom0 may.
func (c *Client) Resume(ctx context.Context, d xen.DomID) error {
	_, err := c.domain(ctx, xs.Resume, d)
	return fail("resume", xs.DomainPath(d), err)
}

// SetTarget lets domain d act on everything that domain target may (a device model's domain). Only dom0 may.
func (c *Client) SetTarget(ctx context.Context, d, target xen.DomID) error {
	_, err := c.do(ctx, xs.SetTarget, 0, xs.AppendSetTarget(nil, d, target), nil)
	return fail("set target of", xs.DomainPath(d), err)
}

// Control sends a command to the service and returns its answer. Only dom0 may.
func (c *Client) Control(ctx context.Context, args ...string) (string, error) {
	b, err := c.do(ctx, xs.Control, 0, xs.AppendStrings(nil, args...), nil)
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	var what string
	if len(args) > 0 {
		what = args[0]
	}
	return string(b), fail("control", what, err)
}

// ResetWatches drops all watches and transactions of this connection at the service: what a kernel does that
// finds itself on a connection somebody used before it. Watches of this Client stay open but are silent.
func (c *Client) ResetWatches(ctx context.Context) error {
	_, err := c.do(ctx, xs.ResetWatches, 0, []byte{0}, nil)
	if err == nil {
		c.mu.Lock()
		for _, p := range c.tokens {
			p.set = false
		}
		c.mu.Unlock()
	}
	return fail("reset watches", "", err)
}

func (c *Client) domain(ctx context.Context, op xs.Op, d xen.DomID) (string, error) {
	b, err := c.do(ctx, op, 0, xs.AppendDomID(nil, d), nil)
	if err != nil {
		return "", err
	}
	s, err := xs.ParseString(b)
	if err != nil {
		return "", c.broken(err)
	}
	return s, nil
}
