// Package bench measures mlvm beside the real lvm2, on the same disks in the same run.
//
// Its one test prints a table for 1 to 10 000 logical volumes and fails where a goal is missed:
//
//	make bench-lvm
//
// Each figure is the median of several runs, in which the two programs take turns. Bytes are what reached the loop
// device, by the kernel's count; CPU is user and system time of the process. Both programs work without backup files.
package bench
