package xenbus

// State is a half's state in its node "state" (io/xenbus.h, enum xenbus_state).
type State uint8

const (
	Unknown       State = 0
	Initialising  State = 1
	InitWait      State = 2 // backend: features are there
	Initialised   State = 3 // frontend: rings are there
	Connected     State = 4
	Closing       State = 5
	Closed        State = 6
	Reconfiguring State = 7
	Reconfigured  State = 8
)

// Nodes reads a node of the peer's directory, or of the device's own, by its name below it. ok is false if the node
// does not exist or cannot be read. It is for the call that it was given to.
type Nodes func(name string) (value string, ok bool)
