package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func arena(t *testing.T, mem []byte) *Arena {
	t.Helper()
	a, err := NewArena(mem)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Whatever the program was doing when it died, also in the middle of a snapshot, what was appended is there, in order
// and once; and the arena does not fill up with what the dead left.
func TestArenaOutlivesTheProgram(t *testing.T) {
	mem := make([]byte, 64*(arenaBlock+8))
	rnd := rand.New(rand.NewPCG(7, 8))
	var state []string
	for life := range 60 {
		a := arena(t, mem)
		if life > 0 {
			if got := replayed(t, a); !slices.Equal(got, state) {
				t.Fatalf("life %d: %d records, want %d", life, len(got), len(state))
			}
		}
		// The records of long ago are not state any more.
		state = append([]string{fmt.Sprint("life ", life)}, state[max(0, len(state)-100):]...)
		j, err := Begin(a, []byte(state[0]), pieces(slices.Clone(state[1:])))
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		for i := range rnd.IntN(400) {
			rec := fmt.Sprintf("%d:%d:%s", life, i, strings.Repeat("x", rnd.IntN(2000)))
			err := j.Append([]byte(rec))
			state = append(state, rec)
			if errors.Is(err, ErrFull) || j.Full() {
				state = state[max(0, len(state)-100):]
				err = j.Next([]byte(state[0]), pieces(slices.Clone(state[1:])))
				j.wg.Wait()
			}
			if err != nil {
				t.Fatalf("life %d: %v", life, err)
			}
		}
		// It dies while it writes a snapshot.
		if rnd.IntN(2) == 0 {
			w, err := a.Write(j.n + 1)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write(make([]byte, rnd.IntN(4*arenaBlock)))
		}
		// A damaged word of the table is as if the block were free.
		for i := range a.count {
			if kind, _, _ := a.block(i); kind == blockFree {
				a.table[8*i+3] ^= 0x40
				break
			}
		}
	}
}

// A full arena says so, and what is there stays.
func TestArenaIsFull(t *testing.T) {
	a := arena(t, make([]byte, 20*(arenaBlock+8)))
	j, err := Begin(a, []byte("head"), pieces([]string{"a"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]byte("b")); err != nil {
		t.Fatal(err)
	}
	big := make([]string, 30)
	for i := range big {
		big[i] = strings.Repeat("y", arenaBlock)
	}
	if err := j.Next([]byte("new"), pieces(big)); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a snapshot that does not fit: %v, want %v", err, ErrNoRoom)
	}
	if got := replayed(t, a); !slices.Equal(got, []string{"head", "a", "b"}) {
		t.Errorf("what is left: %q", got)
	}
	if _, err := Begin(a, []byte("head 2"), pieces([]string{"a", "b"})); err != nil {
		t.Errorf("go on with what fits: %v", err)
	}
	if _, err := NewArena(make([]byte, 100)); err == nil {
		t.Error("an arena of 100 bytes is taken")
	}
}
