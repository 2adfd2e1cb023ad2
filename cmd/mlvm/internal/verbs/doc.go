// Package verbs is the list of mlvm's commands. Each file has those of one subject; All joins them.
//
// To add a verb, write a function that returns it beside its subject, and name that function in All.
package verbs
