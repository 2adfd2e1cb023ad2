package oracle

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Soak is how long a random test goes on by $SOAK, such as 30m; 0 without.
func Soak() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("SOAK"))
	return d
}

// Seed is where a random test begins: at $SEED, at a new place each time while it soaks, and else always at the same
// one, so that a change is judged by what it does and not by luck.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(1)
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED: %v; want a number", err)
		}
	} else if Soak() > 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("SEED=%d repeats this", seed)
	return seed
}
