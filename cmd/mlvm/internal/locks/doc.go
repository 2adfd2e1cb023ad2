// Package locks takes the locks that lvm2 takes, so that both may run at once on one machine: files P_global and V_GROUP
// in a folder, locked with flock(2), readers shared and writers alone.
//
// A reader does not overtake a writer that waits: everybody first takes the lock of the same name with ":aux" behind it,
// which a writer keeps while it waits. A lock's file is removed with its last lock; so after locking it is compared with
// what has the name now, and opened again if that is another.
//
// The machine's folder is root's. Whoever may not write there has a folder of his own, and is kept apart from others by
// locks on the disks' files themselves (Files), which everybody takes.
//
// Source: lib/misc/lvm-flock.c and lib/locking/file_locking.c of lvm2 2.03.16.
package locks
