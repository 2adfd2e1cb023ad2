// Package transfer has the verbs of mlvm that bring data in and out: a server for the network, and whole disk images.
// They are apart from those about volumes because what they need is of no use in a domain that serves volumes.
package transfer

import "morgana/cmd/mlvm/internal/command"

// Verbs are the verbs of this package.
func Verbs() []command.Verb { return append(images(), nbdVerb()) }
