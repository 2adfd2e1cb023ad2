package daemon

import "time"

// What a guest may take of the service's time, so that one that floods its ring slows down nobody but itself. A request
// takes some ten microseconds: the burst is enough for all that a guest asks for while it starts, and what comes after it
// for hundreds of requests a second. Whoever else asks meets a request of its in less than one case of a hundred: so it
// does not show in the 99th of a hundred answers.
const (
	shareBurst  = time.Second           // at once
	sharePart   = 150                   // and beyond that one part in so many of the time that passes
	shareEnough = time.Millisecond      // who has used all waits until it has earned this much
	shareTurn   = 5 * time.Microsecond  // a turn costs this much at least: what it takes to be woken and to answer
	shareMost   = 50 * time.Millisecond // … and at most: what is longer may be time that others had the processor
)

// share is what a guest has left.
type share struct {
	left time.Duration
	at   time.Duration // when it was, since the daemon's start
	out  bool          // it used all
}

func newShare(now time.Duration) share { return share{left: shareBurst, at: now} }

// wait is how long the guest is not to be served yet; 0: now.
func (s *share) wait(now time.Duration) time.Duration {
	if passed := now - s.at; passed > 0 {
		s.left = min(s.left+passed/sharePart, shareBurst)
		s.at = now
	}
	if s.out && s.left >= shareEnough {
		s.out = false
	}
	if !s.out {
		return 0
	}
	return (shareEnough - s.left) * sharePart
}

// spend takes what a turn took.
func (s *share) spend(d time.Duration) {
	if s.left -= min(max(d, shareTurn), shareMost); s.left <= 0 {
		s.out = true
	}
}
