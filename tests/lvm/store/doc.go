// Package store holds the engine of package lvm against the real lvm2 on the same disks: what a power cut leaves is
// the old state or the new one for lvm2 too, disks are laid out as lvm2 lays them out, and each reads what the other
// has written.
package store
