package xenbus

import (
	"context"

	"morgana/xen"
	"morgana/xenstore"
)

// Backend is a backend driver's part of one device. Its methods are called by one goroutine.
type Backend interface {
	// Features are the nodes to publish with state InitWait, before each connection.
	Features() map[string]string
	// Connect opens the connection that the frontend's nodes describe and returns the nodes to publish with state
	// Connected. On error the device is closed, with the error in its node "error", until the frontend tries again.
	Connect(ctx context.Context, front Nodes) (publish map[string]string, err error)
	// Disconnect ends the connection and returns when nothing of the frontend's is mapped or used any more. It is
	// called when the frontend leaves, for whatever reason, and only after Connect succeeded.
	Disconnect()
	// Close gives the device up: it is not called again. Disconnect went before if there was a connection.
	Close()
}

// Device is one device below the backend directory.
type Device struct {
	Class    string // "vbd"
	Frontend xen.DomID
	Number   uint32 // the device's number there: 51712 is xvda
	Path     string // the backend's directory: "backend/vbd/3/51712"
	Peer     string // the frontend's directory: "/local/domain/3/device/vbd/51712"
	Own      Nodes  // the tool stack's nodes in Path: "params", "mode"; for the call of open only
}

// Publish writes nodes and Connected again: how a frontend learns that the disk grew. It does nothing if the device is
// not connected. Safe for concurrent use, but not to be called from the driver's own methods.
func (d *Device) Publish(ctx context.Context, nodes map[string]string) error { panic("unimplemented") }

// Fail ends the connection from the backend's side, because the frontend broke the protocol: the error goes into the
// node "error", the states to Closing and Closed. It does not wait. Safe for concurrent use, also from the driver's own
// goroutines.
func (d *Device) Fail(err error) { panic("unimplemented") }

// Backends serves every device of a class. open is called for each new one.
func Backends(ctx context.Context, store *xenstore.Client, class string, open func(ctx context.Context, d *Device) (Backend, error)) error {
	panic("unimplemented")
}
