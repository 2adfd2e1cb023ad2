//go:build defect

package main

// defectName is set by the linker: -X main.defectName=NAME. The conformance suite must notice each:
//
//	lose-events           every seventh notification is lost
//	write-read-only-grant a page is shared for writing whatever the program asked
//	reuse-mapped-page     a page that the peer maps is used again
//	dirty-pages           shared pages show what was in them before
//	watch-lost            every seventh watch event is lost
//	copy-unchecked        a copy that Xen refused is a success
var defectName string

func defective(name string) bool { return defectName == name }
