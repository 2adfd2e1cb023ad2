//go:build !defect

package devxen

// defective reports whether the package was built to be wrong in this way: never, but in tests of tests.
func defective(string) bool { return false }
