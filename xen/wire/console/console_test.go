package console

import "testing"

// The fields of struct xencons_interface follow each other without a gap and fit a page.
func TestLayout(t *testing.T) {
	at := 0
	for _, f := range []struct {
		name         string
		offset, size int
	}{
		{"in", In, InSize},
		{"out", Out, OutSize},
		{"in_cons", InCons, 4},
		{"in_prod", InProd, 4},
		{"out_cons", OutCons, 4},
		{"out_prod", OutProd, 4},
		{"connection", Connection, 1},
	} {
		if f.offset != at {
			t.Errorf("%s at %d, want %d", f.name, f.offset, at)
		}
		at += f.size
	}
	if at > 4096 {
		t.Errorf("the interface has %d bytes", at)
	}
}
