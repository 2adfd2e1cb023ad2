package args

import (
	"slices"
	"strings"
)

// Option is a name that begins with dashes.
type Option struct {
	Name   string
	Short  byte // 0 if it has no one-letter form
	Kind   Kind
	Words  string // what a Words option accepts
	Repeat Repeat
	Help   string // of mlvm's own options
}

// Kind is what follows an option.
type Kind uint8

const (
	Flag       Kind = iota // nothing
	String                 // anything
	Words                  // one of Option.Words
	Bool                   // y or n
	Number                 // decimal, without a sign
	SizeMiB                // a size, by default in MiB
	SizeKiB                // a size, by default in KiB
	Extents                // a number, with or without %FREE and its like
	Tag                    // a tag, perhaps with a leading @
	Alloc                  // an allocation policy
	Activation             // y, n, ay and their like
	Permission             // r or rw
	ReadAhead              // auto, none or sectors
	Type                   // a segment type
	PVCopies               // metadata areas of a disk: 0 to 2
	VGCopies               // metadata areas of a group: all, unmanaged or a number
)

// Repeat says whether an option may be given more than once.
type Repeat uint8

const (
	Once  Repeat = iota
	Count        // -ff
	List         // --addtag a --addtag b
)

// synonyms are old names of options.
func synonym(verb, name string) string {
	switch name {
	case "corelog":
		return "mirrorlog"
	case "resizable":
		return "resizeable"
	case "available":
		return "activate"
	case "allocation":
		if strings.HasPrefix(verb, "vg") {
			return "resizeable"
		}
		return "allocatable"
	case "metadatacopies":
		return verb[:2] + "metadatacopies"
	case "split":
		return "splitcache"
	case "virtualoriginsize":
		return "virtualsize"
	}
	if rest, ok := strings.CutPrefix(name, "raid"); ok && name != "raidintegrity" && name != "raidintegritymode" &&
		name != "raidintegrityblocksize" {
		return rest
	}
	return name
}

// Known are the verbs of lvm2.
func Known(verb string) bool { _, ok := verbOptions[verb]; return ok }

// Of returns the options that lvm2 takes with a verb, in the order of their names.
func Of(verb string) []Option {
	set, ok := verbOptions[verb]
	if !ok {
		return nil
	}
	names := strings.Fields(set + " " + commonOptions)
	slices.Sort(names)
	var list []Option
	for _, n := range names {
		i, ok := slices.BinarySearchFunc(options, n, func(o Option, n string) int { return strings.Compare(o.Name, n) })
		if ok {
			o := options[i]
			if o.Name == "uuid" && verb != "pvcreate" { // a new one, or to be shown
				o.Kind = Flag
			}
			list = append(list, o)
		}
	}
	return list
}

// signs are the signs that a size or a number of extents may have with a verb.
func signs(verb string) string {
	switch verb {
	case "lvcreate", "lvextend":
		return "+"
	case "lvresize":
		return "+-"
	case "lvreduce":
		return "-"
	}
	return ""
}

// Takes is how help shows what follows the option.
func (o Option) Takes() string {
	switch o.Kind {
	case Flag:
		return ""
	case Words:
		return strings.ReplaceAll(o.Words, " ", "|")
	case Bool:
		return "y|n"
	case Number:
		return "Number"
	case SizeMiB:
		return "Size[m|UNIT]"
	case SizeKiB:
		return "Size[k|UNIT]"
	case Extents:
		return "Number[PERCENT]"
	case Tag:
		return "Tag"
	case Alloc:
		return "contiguous|cling|cling_by_tags|normal|anywhere|inherit"
	case Activation:
		return "y|n"
	case Permission:
		return "rw|r"
	case ReadAhead:
		return "auto|none|Number"
	case Type:
		return "Type"
	case PVCopies:
		return "0|1|2"
	case VGCopies:
		return "all|unmanaged|Number"
	}
	return "String"
}
