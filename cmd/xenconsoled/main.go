// Command xenconsoled serves the consoles of guests in dom0: a drop-in for Xen's daemon of the same name, which also
// rotates its logs, survives being killed, and lets many people attach (xconsole).
package main

import (
	"os"

	"morgana/xenconsoled/daemon/command"
)

func main() { os.Exit(command.Main(os.Args, openMachine)) }
