package handshake

import "strconv"

// State is what a half's node "state" says (io/xenbus.h, enum xenbus_state).
type State uint8

const (
	Unknown       State = 0
	Initialising  State = 1
	InitWait      State = 2 // a backend's: its features are there
	Initialised   State = 3 // a frontend's: its rings are there
	Connected     State = 4
	Closing       State = 5
	Closed        State = 6
	Reconfiguring State = 7
	Reconfigured  State = 8
)

var names = [...]string{
	"unknown", "initialising", "init-wait", "initialised", "connected", "closing", "closed", "reconfiguring",
	"reconfigured",
}

func (s State) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return "state " + strconv.Itoa(int(s))
}

// Value is what the node says.
func (s State) Value() string { return strconv.Itoa(int(s)) }

// ParseState reads a node. What is no state is Unknown; a node that does not exist is the caller's to count as Closed.
func ParseState(v string) State {
	if len(v) != 1 || v[0] < '0' || v[0] > '8' {
		return Unknown
	}
	return State(v[0] - '0')
}

// Step is what a half does next.
type Step uint8

const (
	// Wait is for nothing to do until something changes or the time has come that goes with it.
	Wait Step = iota
	// Offer writes a backend's features and InitWait.
	Offer
	// Prepare makes a frontend's rings and writes their nodes and Initialised.
	Prepare
	// Connect opens the connection that the peer's nodes describe and writes what belongs to it and Connected.
	Connect
	// Look is for the peer to have written Connected again: what it tells may have changed.
	Look
	// Disconnect gives the connection up. No state is written.
	Disconnect
	// Begin writes Initialising: a frontend asks for a new connection.
	Begin
	// Close writes Closing.
	Close
	// Finish writes Closed.
	Finish
	// Remove removes a backend's directory.
	Remove
	// Forget ends it: the device does not exist any more.
	Forget
)

var steps = [...]string{
	"wait", "offer", "prepare", "connect", "look", "disconnect", "begin", "close", "finish", "remove", "forget",
}

func (s Step) String() string { return steps[s] }

// Writes is the state that a step writes when it went well; Unknown if it writes none.
func (s Step) Writes() State {
	switch s {
	case Offer:
		return InitWait
	case Prepare:
		return Initialised
	case Connect:
		return Connected
	case Begin:
		return Initialising
	case Close:
		return Closing
	case Finish:
		return Closed
	}
	return Unknown
}
