package gostd

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// ReadDifferences reads a list of expected differences: a line is package, test (* in it stands for anything), status on
// Linux, status in the guest, and the reason. Empty lines and those that begin with # say nothing.
func ReadDifferences(file string) ([]Difference, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []Difference
	for i, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 5 {
			return nil, fmt.Errorf("%s:%d: want package, test, status on Linux, status in the guest, reason", file, i+1)
		}
		d := Difference{Package: f[0], Test: f[1], Linux: Status(f[2]), Guest: Status(f[3]), Reason: strings.Join(f[4:], " ")}
		for _, s := range []Status{d.Linux, d.Guest} {
			if !slices.Contains([]Status{Pass, Fail, Skip, Absent}, s) {
				return nil, fmt.Errorf("%s:%d: %q is no status; there are PASS, FAIL, SKIP and -", file, i+1, s)
			}
		}
		if _, ok := Find(d.Package); !ok {
			return nil, fmt.Errorf("%s:%d: %s is not in the list of packages (packages.go)", file, i+1, d.Package)
		}
		list = append(list, d)
	}
	return list, nil
}

// Check compares what differed with what was expected of the tests in ran, and says what is wrong, a line each.
func Check(expected, found []Difference, ran Results) (wrong []string) {
	same := func(found, expected Difference) bool {
		return matches(expected.Test, found.Test) && found.Linux == expected.Linux && found.Guest == expected.Guest
	}
	for _, d := range found {
		if !slices.ContainsFunc(expected, func(e Difference) bool { return same(d, e) }) {
			wrong = append(wrong, fmt.Sprintf("%s: %s on Linux, %s in the guest", d.Test, d.Linux, d.Guest))
		}
	}
	for _, e := range expected {
		if ranAny(ran, e.Test) && !slices.ContainsFunc(found, func(d Difference) bool { return same(d, e) }) {
			wrong = append(wrong, fmt.Sprintf("%s: no longer %s on Linux and %s in the guest; take it out of differences.txt", e.Test, e.Linux, e.Guest))
		}
	}
	return wrong
}

// matches reports whether a test has an expected name, in which * stands for anything.
func matches(pattern, name string) bool {
	for i, part := range strings.Split(pattern, "*") {
		at := strings.Index(name, part)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		name = name[at+len(part):]
	}
	return name == "" || strings.HasSuffix(pattern, "*")
}

// ranAny reports whether a test that the expected name may mean has run.
func ranAny(ran Results, pattern string) bool {
	for name := range ran {
		if top(name) == name && matches(top(pattern), name) {
			return true
		}
	}
	return false
}

// Of returns the differences of one package.
func Of(pkg string, list []Difference) (of []Difference) {
	for _, d := range list {
		if d.Package == pkg {
			of = append(of, d)
		}
	}
	return of
}
