// Package lvm compares the volume manager with the real lvm2, which package oracle runs on loop devices: the same
// reports of the same groups, the same words and exit codes for the same commands, changes by both in turn, locks that
// both respect.
package lvm
