package xenconsoled

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestStamp(t *testing.T) {
	const ts = "[2026-11-24 12:00:00] "
	for name, c := range map[string]struct {
		chunks []string
		want   string
	}{
		"whole lines":              {[]string{"one\ntwo\n"}, ts + "one\n" + ts + "two\n"},
		"a line in pieces":         {[]string{"o", "n", "e\n", "two"}, ts + "one\n" + ts + "two"},
		"an empty line":            {[]string{"\n\n"}, ts + "\n" + ts + "\n"},
		"returns after the end":    {[]string{"one\n\r\rtwo"}, ts + "one\n" + ts + "two"},
		"returns in a later piece": {[]string{"one\n", "\r", "\rtwo"}, ts + "one\n" + ts + "two"},
		"returns before the end":   {[]string{"one\r\n\rtwo"}, ts + "one\r\n" + ts + "two"},
		"returns at the beginning": {[]string{"\rone"}, ts + "\rone"},
		"nothing":                  {[]string{""}, ""},
	} {
		f := Format{Stamp: true}
		var got []byte
		state := uint32(0)
		for _, chunk := range c.chunks {
			var n int
			got, n, state = f.Append(got, []byte(chunk), state, noon, false)
			if n != len(chunk) {
				t.Errorf("%s: %d of %d bytes", name, n, len(chunk))
			}
		}
		if string(got) != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestEscape(t *testing.T) {
	for _, f := range []Format{{Escape: true}, {Escape: true, Stamp: true}} {
		got, _, _ := f.Append(nil, []byte("\x1b[0m a\x1b\n\x1b"), 0, noon, false)
		if bytes.IndexByte(got, 0x1b) >= 0 || bytes.Count(got, []byte(".")) != 3 {
			t.Errorf("%q", got)
		}
	}
}

// In whatever pieces it comes, the log is the same.
func TestPiecesMakeNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.StringOf(rapid.SampledFrom([]rune("ab\r\r\n\n\x1b\"é"))).Draw(t, "text"))
		f := rapid.SampledFrom([]Format{{}, {Stamp: true}, {Escape: true}, {Stamp: true, Escape: true}, {JSON: true}}).Draw(t, "format")
		want, _, wantState := f.Append(nil, text, 0, noon, true)
		var got, left []byte
		state := uint32(0)
		for rest := text; len(rest) > 0 || len(left) > 0; {
			n := rapid.IntRange(min(1, len(rest)), len(rest)).Draw(t, "n")
			left = append(left, rest[:n]...)
			rest = rest[n:]
			var taken int
			got, taken, state = f.Append(got, left, state, noon, len(rest) == 0)
			left = left[taken:]
		}
		if !bytes.Equal(got, want) || state != wantState {
			t.Fatalf("%+v: %q in pieces is %q, state %d; want %q, state %d", f, text, got, state, want, wantState)
		}
	})
}

// What JSON has can be read, line for line.
func FuzzJSON(f *testing.F) {
	f.Add([]byte("one\r\ntwo\n\"\\\x00\x1f\x7f\t\r caf\xc3\xa9 \xff\xed\xa0\x80 \xe2\x80\xa8\n\nno end"))
	f.Add(bytes.Repeat([]byte("long"), 5000))
	f.Fuzz(func(t *testing.T, text []byte) {
		out, n, _ := Format{JSON: true}.Append(nil, text, 0, noon, true)
		if n != len(text) || !utf8.Valid(out) {
			t.Fatalf("%d of %d bytes: %q", n, len(text), out)
		}
		var all []byte
		for line := range bytes.Lines(out) {
			var v struct {
				Time    time.Time `json:"time"`
				Line    string    `json:"line"`
				Partial bool      `json:"partial"`
			}
			if err := json.Unmarshal(line, &v); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			if !v.Time.Equal(noon) {
				t.Fatalf("the time is %v", v.Time)
			}
			all = append(all, v.Line...)
			if !v.Partial {
				all = append(all, '\n')
			}
		}
		plain := func(s string) string { // but for returns at the ends of lines, and what is no UTF-8
			return strings.ReplaceAll(strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\r", ""), "\ufffd", "")
		}
		if got, want := plain(string(all)), plain(string(text)); got != want && len(text) < jsonLine {
			t.Fatalf("%q became %q", want, got)
		}
	})
}

func FuzzStamp(f *testing.F) {
	f.Add([]byte("one\n\r\rtwo\x1b\r\n"), uint32(0), true)
	f.Add([]byte("\r\r"), uint32(stateReturns), false)
	f.Fuzz(func(t *testing.T, text []byte, state uint32, escape bool) {
		out, n, after := Format{Stamp: true, Escape: escape}.Append(nil, text, state, noon, false)
		if n != len(text) {
			t.Fatalf("%d of %d bytes", n, len(text))
		}
		if len(out) > 0 && LineStart(after) != (out[len(out)-1] == '\n') {
			t.Fatalf("after %q the state is %d", out, after)
		}
		// Without the times it is what came, but for returns.
		back := bytes.ReplaceAll(out, []byte(noon.Format(StampLayout)), nil)
		drop := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r"), nil) }
		if !escape && !bytes.Contains(text, []byte("2026")) && !bytes.Equal(drop(back), drop(text)) {
			t.Fatalf("%q became %q", text, out)
		}
	})
}

func BenchmarkStamp(b *testing.B) {
	text := bytes.Repeat([]byte("a line of the length that lines of a kernel's log have\r\n"), 1000)
	dst := make([]byte, 0, 4*len(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _, _ = Format{Stamp: true}.Append(dst[:0], text, 0, noon, false)
	}
}
