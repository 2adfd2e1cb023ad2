package dom0

import (
	"os"
	"path/filepath"
	"testing"

	"morgana/cmd/stubdom/internal/host/model"
)

// Where no daemon of ours answers the logs tell: how many lines, also when they grow or begin anew.
func TestLogs(t *testing.T) {
	dir := t.TempDir()
	m := &Machine{Socket: filepath.Join(dir, "none"), Logs: dir}
	d := &model.Domain{ID: 3, Name: "../web"}
	is := func(bytes, lines uint64, served bool) {
		t.Helper()
		c, err := m.Console(t.Context(), d)
		if err != nil || c.Bytes != bytes || c.Lines != lines || c.Served != served {
			t.Errorf("%+v, %v; want %d bytes, %d lines", c, err, bytes, lines)
		}
	}
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "guest-.._web.log"), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	is(0, 0, false)
	write("one\ntwo")
	is(7, 1, true)
	write("one\ntwo\nthree\n")
	is(14, 3, true)
	write("anew\n")
	is(5, 1, true)
	out, n, err := m.Output(t.Context(), d)
	if err != nil || string(out) != "anew\n" || n != 5 {
		t.Errorf("%q, %d, %v", out, n, err)
	}
	if c, err := m.Console(t.Context(), &model.Domain{Name: "Domain-0"}); err != nil || c.Served {
		t.Errorf("dom0 has a console: %+v, %v", c, err)
	}
}
