package devxen

import (
	"errors"
	"io"

	"morgana/xen"
)

// Maps maps pages of other domains for a program that needs nothing else of a Domain: one that serves xenstore, and can
// ask nobody for its own number. Safe for concurrent use.
type Maps struct{ dom Domain }

var _ xen.Mapper = (*Maps)(nil)

// NewMaps opens the device when it is first used.
func NewMaps() *Maps {
	return &Maps{Domain{
		maps: &device{path: MapDevice}, shares: &device{path: ShareDevice}, open: make(map[io.Closer]struct{}),
	}}
}

// Map implements xen.Mapper.
func (m *Maps) Map(peer xen.DomID, refs []xen.GrantRef, access xen.Access) (xen.Mapping, error) {
	return m.dom.Map(peer, refs, access)
}

// Close closes the mappings that are open, and the device.
func (m *Maps) Close() error {
	m.dom.mu.Lock()
	m.dom.closed = true
	var open []io.Closer
	for c := range m.dom.open {
		open = append(open, c)
	}
	m.dom.mu.Unlock()
	var err error
	for _, c := range open {
		err = errors.Join(err, c.Close())
	}
	return errors.Join(err, m.dom.maps.Close())
}
