package devices

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("list", "f.img\n")
	write("config/mlvm/devices", "c.img\n")
	all := env("MLVM_DEVICES", "e1.img,e2.img", "XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	for _, tc := range []struct {
		name string
		r    Request
		want []string
	}{
		{"the option", Request{Devices: []string{"a.img,b.img", "c.img"}, File: file, HasFile: true, Getenv: all}, []string{"a.img", "b.img", "c.img"}},
		{"the file", Request{File: file, HasFile: true, Getenv: all}, []string{"f.img"}},
		{"the environment", Request{Getenv: all, Operands: []string{"o.img"}}, []string{"e1.img", "e2.img"}},
		{"the user's file", Request{Getenv: env("XDG_CONFIG_HOME", filepath.Join(dir, "config")), Operands: []string{"o.img"}}, []string{"c.img"}},
		{"no file", Request{HasFile: true, Getenv: all, Operands: []string{"o.img"}}, []string{"o.img"}},
		{"operands", Request{Getenv: env(), Operands: []string{"o.img", "./o.img", "p.img"}}, []string{"o.img", "p.img"}},
	} {
		l, err := Find(tc.r)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if d := cmp.Diff(tc.want, l.Names); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
	if _, err := Find(Request{File: "nowhere", HasFile: true, Getenv: env()}); err == nil {
		t.Error("a file that does not exist")
	}
}

func TestParse(t *testing.T) {
	names, err := Parse(strings.NewReader(`# LVM uses devices listed in this file.
VERSION=1.1.3
IDTYPE=devname IDNAME=/dev/loop0 DEVNAME=/dev/loop0 PVID=abc
IDTYPE=loop_file IDNAME=/data/a.img DEVNAME=. PVID=def

plain.img   # mine
with space.img
`))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"/dev/loop0", "/data/a.img", "plain.img", "with space.img"}, names); d != "" {
		t.Error(d)
	}
	if _, err := Parse(strings.NewReader("IDTYPE=sys_wwid IDNAME=naa.5 DEVNAME=.\n")); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a device without a name: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("IDTYPE=devname IDNAME=/dev/x\n")
	f.Add("a\n#b\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		names, err := Parse(strings.NewReader(s))
		for _, n := range names {
			if err == nil && strings.TrimSpace(n) == "" {
				t.Errorf("empty name from %q", s)
			}
		}
	})
}
