package handshake

import "time"

// How long a backend stays in a state that the tool stack has to see. xl waits for InitWait and for Closed by a watch,
// reads the node when the watch fires, and fails if the state is another, or gone, by then.
const (
	StayOffered = 400 * time.Millisecond
	StayClosed  = time.Second
)

// BackView is what a backend sees in xenstore at one moment.
type BackView struct {
	Exists bool  // its own node "state" exists
	Online bool  // its node "online" does not say 0: the device is to stay
	Own    State // its own state, which the tool stack writes too
	Peer   State // the frontend's; Closed if there is none
}

// Back is the backend of one device. Not for concurrent use. The zero Back has done nothing yet, whatever the states
// say: a backend that was killed begins so.
type Back struct {
	// Removes says that the backend's directory is its own to remove, as libxl wants it of a domain other than the tool
	// stack's.
	Removes bool

	wrote     bool          // a state, in this life
	offered   bool          // Offer was done, or Connect
	connected bool          // Connect was done, and Disconnect not yet
	broken    bool          // the connection failed: not again until the frontend lets go of it
	dead      bool          // there is nothing to serve
	leaving   bool          // Closed and not online was seen
	until     time.Duration // how long to stay as it is
}

// Connected reports whether there is a connection.
func (b *Back) Connected() bool { return b.connected }

// Next is the step to take at time now, which counts from any fixed moment. For Wait, at is when to ask again even if
// nothing changes; zero is never.
func (b *Back) Next(now time.Duration, v BackView) (s Step, at time.Duration) {
	asks := v.Peer == Initialised || v.Peer == Connected
	if !asks && !b.connected {
		b.broken = false
	}
	switch {
	case !v.Exists || b.wrote && v.Own == Initialising:
		// It was removed, or removed and made anew: Initialising is the tool stack's word.
		if b.connected {
			return Disconnect, 0
		}
		return Forget, 0
	case b.connected && (b.broken || v.Own != Connected && v.Own != Closing):
		return Disconnect, 0
	case b.connected && (v.Peer == Closed || v.Peer == Initialising || v.Peer == Unknown):
		return Disconnect, 0
	case b.connected:
		// The frontend sees Closing and finishes what it has to do. One that its guest uses may take for ever.
		if v.Own != Closing && (v.Peer == Closing || !v.Online) {
			return Close, 0
		}
		return Wait, 0
	case !v.Online && v.Own == Closing && asks && !b.wrote && !b.dead && !b.broken:
		// Killed while a guest went on using what is to be detached: it still does.
		return Connect, 0
	case !v.Online:
		return b.leave(now, v)
	case b.dead:
		if v.Own != Closed {
			return Finish, 0
		}
		return Wait, 0
	case b.broken:
		if v.Own != Closing && v.Own != Closed {
			return Close, 0
		}
		return Wait, 0
	}
	return b.meet(now, v, asks)
}

// leave is the end of a device that is not connected and not to stay.
func (b *Back) leave(now time.Duration, v BackView) (Step, time.Duration) {
	switch {
	case v.Own != Closed:
		return Finish, 0
	case !b.Removes:
		return Wait, 0
	case !b.leaving:
		b.leaving, b.until = true, now+StayClosed
	}
	if now < b.until {
		return Wait, b.until
	}
	return Remove, 0
}

// meet is how a connection comes about.
func (b *Back) meet(now time.Duration, v BackView, asks bool) (Step, time.Duration) {
	switch v.Own {
	case InitWait:
		switch {
		case !b.offered:
			return Offer, 0
		case !asks:
			return Wait, 0
		case now < b.until:
			return Wait, b.until
		}
		return Connect, 0
	case Connected, Closing, Closed:
		switch {
		case v.Peer == Initialising:
			return Offer, 0
		case asks && v.Own != Closing:
			// Connected: this backend was killed, and nobody noticed. Closed: the frontend did not wait for InitWait.
			return Connect, 0
		case v.Own != Closed:
			return Finish, 0
		}
		return Wait, 0
	}
	return Offer, 0
}

// Done tells that a step was carried out, at time now, with the state that its View had as own. A step whose states
// changed before it was carried out is not done, and needs no mention.
func (b *Back) Done(now time.Duration, s Step, own State) {
	switch s {
	case Offer:
		b.offered, b.until = true, now
		if own == Initialising || own == Unknown {
			b.until += StayOffered
		}
	case Connect:
		b.offered, b.connected = true, true
	case Disconnect:
		b.connected = false
	}
	if s.Writes() != Unknown {
		b.wrote = true
	}
}

// Broke tells that the connection failed or could not be opened, by the frontend's doing: it is closed and stays so
// until the frontend lets go.
func (b *Back) Broke() { b.broken = true }

// Dead tells that there is nothing to serve: the device is closed and stays so.
func (b *Back) Dead() { b.dead = true }
