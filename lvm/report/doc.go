// Package report tells what there is in volume groups, as lvm2's pvs, vgs, lvs and fullreport tell it: the same fields
// under the same names with the same values, columns or JSON, sorted and selected with the same words.
//
// A Report is made for a kind of row and a list of fields, is fed rows, and is written at the end:
//
//	r, err := report.New(report.Spec{Kind: report.LVs, Fields: "lv_name,lv_size", Select: "lv_size>8m"})
//	…
//	for lv := range group.LVs() {
//		r.Add(&report.Row{Group: g, LV: lv})
//	}
//	r.Write(os.Stdout)
//
// Fields of other kinds may be mixed in: a report of volumes with a field of segments has a row for each segment. Kind
// says after New which rows the report wants.
//
// What only a running kernel knows (whether a volume is active, how full a pool is) reads as lvm2 prints it on a machine
// without device-mapper: "unknown", an empty string or X.
//
// The package is pure: it opens nothing and asks no clock.
//
// Sources: lvmreport(7), lvs(8), and the output of lvm2 2.03.16 on the same groups, which tests compare.
package report
