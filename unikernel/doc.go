// Package unikernel is what a program may ask of Morgana's kernel beyond what Linux has: memory and event channels that
// survive a restart in place, the restart itself, the life of the domain, and figures about the kernel.
//
// A program needs none of it to run as a domain: any static Go program does. A program that imports it runs on Linux
// too; Booted is false there, and what needs the kernel returns ErrNotBooted.
//
//	unikernel.RestartOnFatal(true)                        // a panic is a short pause, not the end
//	mem, err := unikernel.Arena("requests", 1<<20)        // the same bytes after a restart
//	if unikernel.Generation() > 0 { recover(mem) }
//
// # Restart in place
//
// When a program that asked for it dies, or calls Restart, the kernel drops its threads, memory and open files, and
// starts it again from the pristine image in the same domain. What is left is each arena with the grants made of it
// (ShareArena) and each event channel marked by KeepEvent; Generation counts. The peers see a pause of milliseconds.
// More than five restarts after a death within ten seconds are a storm, and crash the domain.
//
// What an arena holds is as the dying program left it, perhaps in the middle of a change: give it a checksum or a
// journal of its own. It must not hold Go pointers: the garbage collector does not look there.
//
// All functions may be called concurrently.
package unikernel
