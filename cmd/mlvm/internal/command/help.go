package command

import (
	"fmt"
	"io"
	"strings"
)

// WriteHelp writes the verb's page.
func (v *Verb) WriteHelp(w io.Writer) {
	fmt.Fprintf(w, "  %s - %s\n\n", v.Name, v.Summary)
	for _, u := range v.Usage {
		fmt.Fprintf(w, "  mlvm %s %s\n", v.Name, u)
	}
	if v.Details != "" {
		fmt.Fprintln(w)
		for line := range strings.Lines(strings.TrimSpace(v.Details) + "\n") {
			fmt.Fprint(w, indent(line))
		}
	}
	if len(v.Examples) > 0 {
		fmt.Fprint(w, "\n  Examples:\n")
		for _, e := range v.Examples {
			fmt.Fprintf(w, "      mlvm %s\n", e)
		}
	}
	own := map[string]string{}
	for _, o := range v.Own {
		own[o.Name] = o.Help
	}
	fmt.Fprint(w, "\n  Options:\n")
	for _, o := range v.Options() {
		short := "   "
		if o.Short != 0 {
			short = fmt.Sprintf("-%c|", o.Short)
		}
		left := fmt.Sprintf("      %s--%s %s", short, o.Name, o.Takes())
		help := o.Help
		if help == "" {
			help = about[o.Name]
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-44s %s", strings.TrimRight(left, " "), help), " "))
	}
	fmt.Fprint(w, "\n  Devices are named with --devices A,B,… or MLVM_DEVICES=A,B,… or a devices file; see mlvm help devices.\n")
	fmt.Fprint(w, "  Exit codes: 0 done, 2 no such command, 3 wrong command line, 5 failed, 130 interrupted.\n")
}

func indent(line string) string {
	if strings.TrimSpace(line) == "" {
		return "\n"
	}
	return "  " + line
}

// Version is what mlvm --version prints, beside the lvm2 whose behaviour it follows.
const Version = "mlvm 1.0 (LVM2 text format 1, as lvm2 2.03.16)"

// WriteVersion writes the program's version.
func WriteVersion(w io.Writer) { fmt.Fprintln(w, "  "+Version) }

// about says in a few words what options of many verbs do.
var about = map[string]string{
	"activate":            "only n: mlvm activates nothing",
	"addtag":              "add a tag; may be repeated",
	"aligned":             "align columns (the default)",
	"all":                 "hidden volumes too, or all devices",
	"alloc":               "how extents are chosen",
	"allocatable":         "whether the disk's free extents may be used",
	"autobackup":          "whether to write backups (default y)",
	"binary":              "0 and 1 instead of words",
	"bootloaderareasize":  "room for a boot loader before the data",
	"columns":             "as a table",
	"contiguous":          "one run of extents on one disk",
	"dataalignment":       "align the data area",
	"dataalignmentoffset": "shift the aligned data area",
	"debug":               "accepted; says nothing more",
	"deltag":              "remove a tag; may be repeated",
	"devices":             "the disks, files or block devices, separated by commas",
	"devicesfile":         "a file that lists the disks",
	"driverloaded":        "accepted; no kernel driver is used",
	"extents":             "size in extents, or a part: 50%FREE, 10%VG, 100%PVS",
	"file":                "the backup file",
	"force":               "once: do not ask; twice: even what destroys data",
	"help":                "this page",
	"labelsector":         "the sector of the label, 0 to 3",
	"longhelp":            "this page",
	"metadatasize":        "size of the metadata area",
	"name":                "name of the new volume",
	"nohints":             "accepted; mlvm keeps no hints",
	"noheadings":          "no first line",
	"nolocking":           "take no locks",
	"nosuffix":            "sizes without a unit",
	"options":             "fields, +more, -fewer; help lists them",
	"permission":          "read and write, or only read",
	"physicalextentsize":  "size of an extent",
	"quiet":               "say less",
	"reportformat":        "basic, json or json_std",
	"restorefile":         "backup file that --uuid belongs to",
	"rows":                "columns as rows",
	"select":              "only what fulfils the criteria; help explains them",
	"separator":           "between columns",
	"size":                "size, in MiB without a unit",
	"sort":                "by fields, -field downwards",
	"stripes":             "number of disks side by side",
	"stripesize":          "bytes on a disk before the next one's turn",
	"test":                "change nothing, say what would be done",
	"type":                "linear, striped, error or zero",
	"units":               "of sizes: h r b s k m g t p e, upper case for powers of 1000",
	"verbose":             "accepted; says nothing more",
	"version":             "the version",
	"yes":                 "answer every question with yes",
	"zero":                "whether to zero the begin",
}
