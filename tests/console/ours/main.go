// Command ours is our console daemon on the fake host in $FAKEXEN (package fakehost).
package main

import (
	"os"

	"morgana/tests/xenstore/fakehost"
	"morgana/xenconsoled/daemon"
	"morgana/xenconsoled/daemon/command"
)

func main() {
	os.Exit(command.Main(os.Args, func() (daemon.Machine, error) { return fakehost.OpenConsoles(os.Getenv("FAKEXEN")), nil }))
}
