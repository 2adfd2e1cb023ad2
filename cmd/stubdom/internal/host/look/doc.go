// Package look takes snapshots of a host, for package model: what a program in dom0 learns through xenstore. The storage
// domain is asked for its figures and volumes with the commands of lvm/remote, xenstore for its counters with CONTROL
// stats. What only the machine knows, its domains and what their consoles said, a Machine tells: dom0's own (package
// machine of stubdom's host) or the simulator.
package look
