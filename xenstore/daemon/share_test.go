package daemon

import (
	"testing"
	"time"
)

// A guest that wants all it can get is served for its burst and then for a twentieth of the time; one that rests earns
// its burst again, and no more.
func TestShare(t *testing.T) {
	const cost = 200 * time.Microsecond
	now := time.Duration(0)
	s := newShare(now)
	greedy := func(length time.Duration) (served time.Duration) {
		for end := now + length; now < end; {
			if w := s.wait(now); w > 0 {
				if w > (shareEnough+cost)*sharePart {
					t.Fatalf("has to wait %v", w)
				}
				now += w
				continue
			}
			s.spend(cost)
			now += cost
			served += cost
		}
		return served
	}
	if got := greedy(shareBurst); got != shareBurst {
		t.Errorf("a burst of %v was served for %v", shareBurst, got)
	}
	const long = 10 * time.Second
	if got, want := greedy(long), long/sharePart; got < want*9/10 || got > want*11/10+2*shareEnough {
		t.Errorf("in %v it was served for %v, want about %v", long, got, want)
	}
	now += time.Hour
	if got := greedy(shareBurst * 21 / 20); got > shareBurst*21/20 || got < shareBurst {
		t.Errorf("after an hour of rest it was served for %v, want %v", got, shareBurst)
	}
	// What takes long is paid for afterwards.
	now += time.Hour
	s.wait(now)
	s.spend(2 * shareBurst)
	if got := s.wait(now); got != (shareBurst+shareEnough)*sharePart {
		t.Errorf("after a request of %v it waits %v", 2*shareBurst, got)
	}
}
