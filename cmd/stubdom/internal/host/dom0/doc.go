// Package dom0 looks at a real host from its dom0: a program there runs Serve, and whoever started it, on this machine or
// outside of an emulated one, asks it over its standard input and output by an Asker, which is a model.Source too.
//
//	dom0                            outside
//	Looker ── Serve ══ a line of JSON a request, a line an answer ══ Asker
//
// Machine is what the tool stack says: domains by xl list, consoles by the daemon's socket or its logs.
package dom0
