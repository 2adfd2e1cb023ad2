package show

import "testing"

func TestEscape(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	if got := Unescape(Escape(string(all))); got != string(all) {
		t.Errorf("%q", got)
	}
	for in, want := range map[string]string{"a\tb\\\x01\x1f\xff": `a\tb\\\001\x1f\xff`, "": ""} {
		if got := Escape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{`a\`: `a\`, `\q`: "q", `\x4`: "\x04", `\x`: "x", `\12a`: "\na", `\x41B`: "AB"} {
		if got := Unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add(`a\x41\001\q\`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := Unescape(Escape(Unescape(s))); got != Unescape(s) {
			t.Errorf("%q", got)
		}
	})
}
