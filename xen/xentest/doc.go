// Package xentest is the one conformance suite of the driver layer: what xen/sim, xen/devxen and a unikernel must
// all do. It needs no package testing, so it runs from go test and from the main of a domain alike.
//
// # Two sides
//
// Each case has two roles that may live in one process, in two domains, or in dom0 and a unikernel: the Initiator
// leads, the Responder follows. They meet in a directory of xenstore that both may read and write (Env.Path; in
// practice dom0 makes it and gives it the permissions "n0,bA,bB"). Both call Run with an Env of their own; the one
// that leads decides which cases run, when it is done the other's Run returns too.
//
//	rep, err := xentest.Run(ctx, &xentest.Env{
//		Dom: dom, Store: store, Peer: 3, Path: "/test/conformance", Role: xentest.Initiator,
//	}, func(r xentest.Result) { fmt.Println(r) })
//	rep.WriteText(os.Stdout)
//
// A case never waits without end: each has Env.Timeout, and a side that fails tells the other at once.
package xentest
