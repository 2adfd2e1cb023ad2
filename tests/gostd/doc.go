// Package gostd runs Go's own standard-library tests as unikernels and compares what passes with Linux.
//
// A package's tests are compiled by go test -c, stripped, and joined with the kernel, unchanged. The same binary runs on
// Linux in the same test: with the same files beside it, on one CPU, and without a go command. What differs must be in
// differences.txt with a reason, and nothing else may be there, so both a new failure and a vanished one are found.
// docs/go-tests.md is written from a run:
//
//	go test ./tests/gostd -update
package gostd
