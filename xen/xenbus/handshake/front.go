package handshake

import "time"

// How long a frontend waits before it asks for a connection again that failed: the first time, and at most.
const (
	RetryFirst = 100 * time.Millisecond
	RetryMost  = 30 * time.Second
)

// FrontView is what a frontend sees in xenstore at one moment.
type FrontView struct {
	Exists bool  // its own node "state" exists
	Online bool  // the backend's node "online" is there and does not say 0
	Own    State // its own state
	Peer   State // the backend's; Closed if there is none
	Wrote  bool  // the backend's node "state" was written since the last View
}

// Front is the frontend of one device. Not for concurrent use. The zero Front has done nothing yet, whatever the states
// say.
type Front struct {
	prepared  bool // Prepare was done, and Disconnect not yet
	connected bool // Connect was done, and Disconnect not yet
	broken    bool // the backend broke the protocol: away from it
	tries     uint
	at        time.Duration // when to ask again
	since     time.Duration // of the connection
}

// Connected reports whether there is a connection.
func (f *Front) Connected() bool { return f.connected }

// Next is the step to take at time now, which counts from any fixed moment. For Wait, at is when to ask again even if
// nothing changes; zero is never.
func (f *Front) Next(now time.Duration, v FrontView) (s Step, at time.Duration) {
	if !v.Exists {
		if f.prepared {
			return Disconnect, 0
		}
		return Forget, 0
	}
	if f.prepared && v.Own == Initialising {
		return Disconnect, 0 // with Prepare we wrote another state: the tool stack has made the device anew
	}
	if f.broken {
		if v.Own != Closed || f.prepared || v.Peer == Connected || v.Peer == Closing {
			return f.part(now, v)
		}
		if now < f.at {
			return Wait, f.at
		}
		f.broken = false
	}
	switch v.Peer {
	case Unknown, Closing, Closed:
		if v.Own == Initialising && !f.prepared && v.Peer != Closing {
			return Wait, 0 // this is asking for it
		}
		return f.part(now, v)
	case Initialising:
		// A backend that begins, perhaps anew.
		if f.prepared {
			return Disconnect, 0
		}
		if v.Own != Initialising {
			return Begin, 0
		}
	case InitWait, Initialised:
		switch {
		case f.connected:
			return Disconnect, 0 // it begins anew
		case !f.prepared && v.Own != Initialising:
			return Begin, 0
		case !f.prepared:
			return Prepare, 0
		}
	case Connected:
		switch {
		case f.connected && v.Wrote:
			return Look, 0
		case f.prepared && !f.connected:
			return Connect, 0
		case !f.prepared && v.Own != Closing && v.Own != Closed:
			return Close, 0 // to somebody's rings of an earlier life
		}
	}
	return Wait, 0
}

// part is the way out of a connection, and to the next one.
func (f *Front) part(now time.Duration, v FrontView) (Step, time.Duration) {
	switch {
	case v.Own != Closing && v.Own != Closed:
		return Close, 0
	case f.prepared:
		return Disconnect, 0
	case v.Own != Closed:
		return Finish, 0
	case v.Peer != Closed || !v.Online:
		return Wait, 0
	case now < f.at:
		return Wait, f.at
	}
	return Begin, 0
}

// Done tells that a step was carried out, at time now. A step whose states changed before it was carried out is not
// done, and needs no mention.
func (f *Front) Done(now time.Duration, s Step) {
	switch s {
	case Prepare:
		f.prepared = true
	case Connect:
		f.connected, f.since = true, now
	case Disconnect:
		if f.connected && now-f.since > RetryMost {
			f.tries = 0
		}
		f.prepared, f.connected = false, false
	case Finish:
		f.at = now + min(RetryFirst<<min(f.tries, 16), RetryMost)
		f.tries++
	}
}

// Broke tells that the backend broke the protocol: the connection is given up and another one tried later.
func (f *Front) Broke() { f.broken = true }
