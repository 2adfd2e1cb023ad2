//go:build !crashtest

package main

import (
	"context"

	"morgana/xenstore"
)

// mayCrash is for tests: see crash_on.go.
func mayCrash(context.Context, *xenstore.Client) {}
