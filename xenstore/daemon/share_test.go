package daemon

import (
	"testing"
	"time"
)

// A guest that wants all it can get is served for its burst and then for a small part of the time; one that rests earns
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
	const long = 5 * time.Minute
	if got, want := greedy(long), long/sharePart; got < want*9/10 || got > want*11/10+2*shareEnough {
		t.Errorf("in %v it was served for %v, want about %v", long, got, want)
	}
	now += time.Hour
	if got, most := greedy(3*shareBurst), shareBurst+3*shareBurst/sharePart+2*shareEnough; got < shareBurst || got > most {
		t.Errorf("after an hour of rest it was served for %v, want %v to %v", got, shareBurst, most)
	}
	// What takes long is paid for afterwards, up to a limit.
	now += time.Hour
	s.wait(now)
	for range int(shareBurst / shareMost) {
		s.spend(time.Minute)
	}
	if got := s.wait(now); got != shareEnough*sharePart {
		t.Errorf("after its burst it waits %v, want %v", got, shareEnough*sharePart)
	}
}
