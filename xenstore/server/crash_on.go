//go:build crashtest

package server

const controlCrash = true
