package gostd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// marked writes ^ as the mark of the testing package.
func marked(s string) string { return strings.ReplaceAll(s, "^", "\x16") }

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, out string
		want      Results
		culprit   string
	}{
		{
			"all kinds", "^=== RUN   TestA\nwords^--- PASS: TestA (0.00s)\n^=== RUN   TestB\n^=== RUN   TestB/c\n^--- FAIL: TestB/c (0.10s)\n^--- FAIL: TestB (0.10s)\n^--- SKIP: TestC (0.00s)\n^FAIL\n",
			Results{"TestA": Pass, "TestB": Fail, "TestB/c": Fail, "TestC": Skip},
			"",
		},
		{
			"a test that prints results", "^=== RUN   TestA\n--- FAIL: TestX (0.00s)\n^--- PASS: TestA (0.00s)\n^PASS\r\nmorgana: …\n",
			Results{"TestA": Pass},
			"",
		},
		{
			"addresses in names", "^--- PASS: TestA/0xc000012345 (0.00s)\n^PASS\n",
			Results{"TestA/0x*": Pass},
			"",
		},
		{
			"a panic", "^=== RUN   TestA\n^--- PASS: TestA (0.00s)\n^=== NAME  \n^=== RUN   TestB\n^=== RUN   TestB/c\npanic: no\n",
			Results{"TestA": Pass, "TestB": Fail},
			"TestB",
		},
		{"nothing", "morgana: no memory\n", Results{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, culprit := parse(marked(c.out))
			if d := cmp.Diff(c.want, r); d != "" || culprit != c.culprit {
				t.Errorf("culprit %q, want %q\n%s", culprit, c.culprit, d)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	linux := Results{"TestA": Pass, "TestB": Pass, "TestB/x": Pass, "TestC": Fail, "TestC/x": Fail, "TestC/y": Pass, "TestD": Skip}
	guest := Results{"TestA": Pass, "TestB": Fail, "TestB/x": Fail, "TestC": Fail, "TestC/x": Pass, "TestC/y": Pass, "TestE": Pass}
	want := []Difference{
		{"p", "TestB", Pass, Fail, ""},
		{"p", "TestC/x", Fail, Pass, ""},
		{"p", "TestD", Skip, Absent, ""},
		{"p", "TestE", Absent, Pass, ""},
	}
	found := compare("p", linux, guest)
	if d := cmp.Diff(want, found); d != "" {
		t.Error(d)
	}
	if wrong := Check(want, found, linux); len(wrong) > 0 {
		t.Errorf("what was expected is wrong: %q", wrong)
	}
	wrong := Check(append(want[1:], Difference{"p", "TestA", Pass, Fail, ""}, Difference{"p", "TestNotRun", Pass, Fail, ""}), found, linux)
	if len(wrong) != 2 || !strings.HasPrefix(wrong[0], "TestB: PASS on Linux, FAIL") || !strings.HasPrefix(wrong[1], "TestA: no longer") {
		t.Errorf("a new failure and a vanished one: %q", wrong)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"TestA", "TestA", true},
		{"TestA", "TestAB", false},
		{"TestA", "XTestA", false},
		{"Test*/x", "TestRoot/from/x", true},
		{"Test*/x", "TestRoot/from/xy", false},
		{"TestA/*", "TestA/x/y", true},
		{"TestA/*", "TestA", false},
	} {
		if got := matches(c.pattern, c.name); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestReadDifferences(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"# words\n\nsync TestX PASS FAIL because of it\n", ""},
		{"sync TestX PASS FAIL\n", ":1: want package, test"},
		{"\nsync TestX PASS WORSE because\n", `:2: "WORSE" is no status`},
		{"no/such TestX PASS FAIL because\n", ":1: no/such is not in the list of packages"},
	} {
		f := filepath.Join(t.TempDir(), "differences.txt")
		if err := os.WriteFile(f, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		list, err := ReadDifferences(f)
		switch {
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		case c.want == "" && (err != nil || len(list) != 1 || list[0].Reason != "because of it"):
			t.Errorf("%q: %v, %v", c.text, list, err)
		}
	}
}
