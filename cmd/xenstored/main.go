// Command xenstored is the xenstore daemon of dom0: a drop-in for Xen's. See xenstored --help.
package main

import (
	"os"

	"morgana/xenstore/daemon"
	"morgana/xenstore/daemon/command"
	"morgana/xenstore/daemon/dom0"
)

func main() {
	os.Exit(command.Main(os.Args, func(events int) (daemon.Machine, error) { return dom0.Open(events) }))
}
