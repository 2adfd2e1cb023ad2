package lvm_test

import (
	"context"
	"errors"
	"testing"

	"morgana/lvm"
	"morgana/lvm/metadata"
)

// A move that was interrupted before its last step leaves no note of itself once it is complete: not with the step that
// remains, and not when another move is begun instead.
func TestMoveGoesOn(t *testing.T) {
	for _, other := range []bool{false, true} {
		b := newBench(t, 4, 64*mib, 512)
		three(b)
		b.fill("b")
		g := b.open("data")
		step := 15 * g.VG().ExtentSize() * metadata.SectorSize
		ctx, cancel := context.WithCancel(context.Background())
		m := metadata.Move{Source: "/dev/d1", Targets: []string{"/dev/d2"}}
		err := g.Move(ctx, b.env(), m, lvm.MoveOptions{Step: step, Progress: func(done, _ uint64) {
			if done > step {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("the move was not interrupted: %v", err)
		}
		g = b.open("data")
		moves := lvm.Moves(g.VG())
		if len(moves) != 1 {
			t.Fatalf("%d moves to go on with, not 1", len(moves))
		}
		b.check(b.filled("b"))
		if m = moves[0]; other {
			m = metadata.Move{Source: "/dev/d1", LV: "b"}
		}
		b.check(g.Move(context.Background(), b.env(), m, lvm.MoveOptions{Step: step}))
		vg := b.open("data").VG()
		if left := vg.PVByDevice("/dev/d1").Tags; len(left) > 0 || len(lvm.Moves(vg)) > 0 {
			t.Errorf("the complete move is still noted: %q", left)
		}
		b.check(b.filled("b"))
	}
}
