//go:build !defect

package main

// defective reports whether the kernel was built to be wrong in this way: never, but in tests of tests.
func defective(string) bool { return false }
