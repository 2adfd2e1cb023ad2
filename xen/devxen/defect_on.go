//go:build defect

package devxen

// defectName is set by the linker: -X morgana/xen/devxen.defectName=NAME. The conformance suite must notice each:
//
//	events-swallowed  every seventh event is taken and not delivered
//	read-only-ignored a page is mapped for writing whatever was asked
//	grants-kept       a closed grant is not given back
//	copy-unchecked    the status of a copy is not looked at
var defectName string

func defective(name string) bool { return defectName == name }
