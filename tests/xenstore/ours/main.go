// Command ours is our daemon on the fake host in $FAKEXEN (package fakehost).
package main

import (
	"os"

	"morgana/tests/xenstore/fakehost"
	"morgana/xenstore/daemon"
	"morgana/xenstore/daemon/command"
)

func main() {
	os.Exit(command.Main(os.Args, func(events int) (daemon.Machine, error) {
		return fakehost.Open(os.Getenv("FAKEXEN"), events)
	}))
}
