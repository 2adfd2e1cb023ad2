package gostd

import (
	"regexp"
	"slices"
	"strings"
)

// A Status is how a test ended.
type Status string

// How tests end. Absent is a test that one world ran and the other did not.
const (
	Pass   Status = "PASS"
	Fail   Status = "FAIL"
	Skip   Status = "SKIP"
	Absent Status = "-"
)

// Results are the statuses of tests, subtests and examples by name.
type Results map[string]Status

// The testing package marks its own lines with ^V under -test.v=test2json, so that what a test prints is no result.
var (
	resultLine = regexp.MustCompile(`\x16--- (PASS|FAIL|SKIP): (\S+) \(`)
	startLine  = regexp.MustCompile(`(?m)\x16=== (RUN|CONT|NAME) +(\S*)\r?$`)
	endLine    = regexp.MustCompile(`(?m)\x16(PASS|FAIL)\r?$`)
)

// address is what some tests have in the names of subtests.
var address = regexp.MustCompile(`0x[0-9a-f]{8,}`)

// parse reads the output of a test binary run with -test.v=test2json. If the run broke off, culprit is the top-level
// test that was running.
func parse(out string) (r Results, culprit string) {
	r = Results{}
	for _, m := range resultLine.FindAllStringSubmatch(out, -1) {
		r[address.ReplaceAllString(m[2], "0x*")] = Status(m[1])
	}
	if endLine.MatchString(out) {
		return r, ""
	}
	for _, m := range slices.Backward(startLine.FindAllStringSubmatch(out, -1)) {
		if m[2] != "" {
			culprit = top(m[2])
			r[culprit] = Fail
			return r, culprit
		}
	}
	return r, ""
}

// top is the top-level test that a test belongs to.
func top(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return name
}

// A Difference is a test that ends otherwise in a guest than on Linux.
type Difference struct {
	Package, Test string
	Linux, Guest  Status
	Reason        string
}

// compare lists the tests that end differently, sorted by name. Below a test that differs its subtests are not listed.
func compare(pkg string, linux, guest Results) []Difference {
	names := map[string]bool{}
	for n := range linux {
		names[n] = true
	}
	for n := range guest {
		names[n] = true
	}
	status := func(r Results, n string) Status {
		if s, ok := r[n]; ok {
			return s
		}
		return Absent
	}
	differ := func(n string) bool { return status(linux, n) != status(guest, n) }
	var list []Difference
names:
	for n := range names {
		if !differ(n) {
			continue
		}
		for i, c := range n {
			if c == '/' && differ(n[:i]) {
				continue names
			}
		}
		list = append(list, Difference{Package: pkg, Test: n, Linux: status(linux, n), Guest: status(guest, n)})
	}
	slices.SortFunc(list, func(a, b Difference) int { return strings.Compare(a.Test, b.Test) })
	return list
}

// Count is the number of tests and examples, without subtests, that ended with s.
func (r Results) Count(s Status) int {
	n := 0
	for name, st := range r {
		if st == s && top(name) == name {
			n++
		}
	}
	return n
}
