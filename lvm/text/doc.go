// Package text is the grammar of LVM2's metadata: it parses text to an ordered tree and prints a tree as text.
//
// The same grammar serves the copy of a volume group's description in each metadata area, the files of
// /etc/lvm/backup and /etc/lvm/archive, and lvm.conf:
//
//	file    := entry*
//	entry   := key '=' value | key '{' entry* '}'
//	value   := integer | float | "string" | 'string' | word | '[' (value ','?)* ']'
//	comment := '#' … end of line
//
// A tree keeps everything in its order, also what nobody here understands, so that a group which a newer program has
// described survives a change by an older one, value for value. Integers keep the digits they were written with.
//
// # Two layouts
//
// On disk the text has no indentation and no comments; in files lines are indented with tabs, and sizes and times are
// explained in comments. Both have blank lines at places that depend on what is described, so a Printer is told the
// Place of what it prints. The result is what LVM2 2.03 prints, byte for byte.
//
// # Trees are values
//
// A Section and what it holds never change after it was made: With, WithSection and Without return another one that
// shares the rest. So trees may be used from any number of goroutines, and an old one stays valid.
//
// Sources: libdm/libdm-config.c (grammar), lib/format_text/export.c and the text_export functions of lib/*/ (layout)
// of LVM2.
package text
