// Package redolog holds groups with a redo log against the real lvm2: while changes are pending, no lvm2 command
// changes or activates anything, not a byte; and whatever happens to the program that made them, mlvm sync gives lvm2
// all of them.
package redolog
