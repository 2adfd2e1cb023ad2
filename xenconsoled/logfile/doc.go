// Package logfile keeps what consoles say in files, as Xen's daemon does: guest-NAME.log, appended to, with a time before
// each line if wished; or lines of JSON. Beyond it, files are rotated by size and age.
//
// A byte is in the logs once, whenever the process ends: before a batch is written, a note of it is made in memory that
// outlives the process (xenconsoled.Mark), and the next process completes or takes back what was under way. The files are
// not synced: a power cut takes with it what the kernel has not written, as with any log, and the guests too.
package logfile
