package xenbus

import (
	"context"

	"morgana/xen"
	"morgana/xenstore"
)

// Frontend is a frontend driver's part of its device. Its methods are called by one goroutine.
type Frontend interface {
	// Prepare makes rings for what the backend offers and returns the nodes to publish with state Initialised. It is
	// called again after each Disconnect.
	Prepare(ctx context.Context, peer xen.DomID, back Nodes) (publish map[string]string, err error)
	// Connect is called when the backend is Connected. State Connected is written after it.
	Connect(ctx context.Context, back Nodes) error
	// Changed is called when the backend wrote Connected once more: read again what may have changed.
	Changed(back Nodes)
	// Disconnect is called when the backend left, and for a Prepare that came to nothing: give the rings up.
	Disconnect()
}

// RunFrontend runs a frontend in its directory ("device/vbd/51712") until ctx ends or the device is removed. A backend
// that goes and comes back is connected again.
func RunFrontend(ctx context.Context, store *xenstore.Client, path string, f Frontend) error {
	panic("unimplemented")
}
