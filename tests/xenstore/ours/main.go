// Command ours is our daemon on the fake host in $FAKEXEN (package peers).
package main

import (
	"os"

	"morgana/tests/xenstore/peers"
	"morgana/xenstore/daemon"
	"morgana/xenstore/daemon/command"
)

func main() {
	os.Exit(command.Main(os.Args, func(events int) (daemon.Machine, error) {
		return peers.OpenMachine(os.Getenv("FAKEXEN"), events)
	}))
}
