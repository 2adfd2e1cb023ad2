// Command says puts its arguments into Xen's log.
package main

import (
	"os"
	"strings"

	"morgana/unikernel"
)

func main() { unikernel.DebugLog(strings.Join(os.Args[1:], " ") + "\n") }
