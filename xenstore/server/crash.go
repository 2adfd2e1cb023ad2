//go:build !crashtest

package server

// controlCrash says that CONTROL has a command that kills the service: in a build for tests only.
const controlCrash = false
