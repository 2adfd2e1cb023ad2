package sim

import (
	"strings"

	"morgana/xen/wire/xs"
)

// storeWatch is a watch of a connection.
type storeWatch struct {
	path  string // absolute or special
	given string // as the client wrote it
	token string
}

// fireLocked tells everyone who watches path, or (unless exact) a node above it, and may know. before is the node
// that was there, for those who could read it.
func (s *store) fireLocked(path string, before *node, exact bool) {
	for _, c := range s.conns {
		if !c.maySeeLocked(path, before) {
			continue
		}
		for _, w := range c.watches {
			if w.path != path && (exact || !xs.Covers(w.path, path)) {
				continue
			}
			c.eventLocked(w, path)
		}
	}
}

func (c *storeConn) maySeeLocked(path string, before *node) bool {
	if c.privileged() || xs.Special(path) && c.s.host.defects[PermissionsIgnored] {
		return true
	}
	if xs.Special(path) {
		return c.special[path]
	}
	for _, n := range []*node{c.s.nodes[path], c.s.nodes[xs.Parent(path)], before} {
		if n != nil && c.allowed(n).CanRead() {
			return true
		}
	}
	return false
}

func (c *storeConn) eventLocked(w *storeWatch, path string) {
	if home := c.home(); w.given != w.path {
		path = strings.TrimPrefix(strings.TrimPrefix(path, home), "/")
	}
	c.s.events++
	if c.s.host.defects[WatchLost] && c.s.events%7 == 0 {
		return
	}
	b := xs.AppendMessage(nil, xs.Header{Op: xs.WatchEvent}, xs.AppendWatch(nil, path, w.token))
	if len(b) > xs.HeaderSize+xs.PayloadMax {
		return // as the real one: never sent (XSA-324)
	}
	if c.s.host.defects[WatchReordered] {
		// Every other event is held back until the next was sent.
		if c.held == nil && c.s.events%2 == 0 {
			c.held = b
			return
		}
		b = append(b, c.held...)
		c.held = nil
	}
	c.sendLocked(b)
}
