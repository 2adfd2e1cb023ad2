package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestNoTerminal(t *testing.T) {
	b := New(&bytes.Buffer{}, "copy", 100)
	if b != nil {
		t.Fatal("a bar without a terminal")
	}
	b.Add(5)
	b.End()
}

func TestBar(t *testing.T) {
	var out bytes.Buffer
	start := time.Unix(1000, 0)
	now := start
	b := &Bar{w: &out, what: "copy", total: 100 << 20, start: start, now: func() time.Time { return now }, width: func() int { return 60 }}
	now = start.Add(500 * time.Millisecond)
	b.Add(10 << 20)
	if out.Len() != 0 {
		t.Errorf("drawn at once: %q", out.String())
	}
	now = start.Add(2 * time.Second)
	b.Add(40 << 20)
	line := out.String()
	for _, want := range []string{"\rcopy [#", " 50%", "25.0 MiB/s", " 2s"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q lacks %q", line, want)
		}
	}
	if full, empty := strings.Count(line, "#"), strings.Count(line, "."); full == 0 || empty < full {
		t.Errorf("%q: half should be full", line)
	}
	out.Reset()
	now = now.Add(10 * time.Millisecond)
	b.Add(1)
	if out.Len() != 0 {
		t.Errorf("drawn too soon: %q", out.String())
	}
	b.End()
	if out.String() != "\r\x1b[K" {
		t.Errorf("end: %q", out.String())
	}
}
