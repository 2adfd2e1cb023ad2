// Package migration is the record format in which xenstore daemons hand their state on (docs/designs/
// xenstore-migration.md in Xen's source, version 1): for a live update, in which one program replaces another and keeps
// its connections, and for a journal. It is pure.
//
// A stream is a preamble and records, each a type, a length and a body padded to eight bytes; numbers are little-endian
// here, which the preamble says. Functions come in pairs, AppendX and ParseX; what Parse returns aliases its argument.
package migration
