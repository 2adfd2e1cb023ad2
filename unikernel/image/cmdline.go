package image

import "strings"

// MaxCmdline is the longest command line that the kernel takes, in bytes.
const MaxCmdline = 4096

// Cmdline joins a program's arguments to a kernel command line that the kernel splits into the same words again. Words
// that begin with env= or unikernel. are the kernel's and do not reach the program.
func Cmdline(args ...string) string {
	q := make([]string, len(args))
	for i, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\r\n'\"\\") {
			a = "'" + strings.ReplaceAll(a, "'", `'"'"'`) + "'"
		}
		q[i] = a
	}
	return strings.Join(q, " ")
}
