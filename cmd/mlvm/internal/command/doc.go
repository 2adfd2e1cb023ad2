// Package command is what every verb of mlvm is made of: its description (Verb), and one run of it (Run) with the
// parsed command line, the places to write to, the question to the user, and the exit code.
//
// Package verbs has the list. A verb says which of lvm2's options it obeys; any other that lvm2 has is refused by its
// name before the verb runs, so none is ever ignored by accident.
//
// Words for people go to standard error and data to standard output, with one exception that scripts rely on: what
// lvm2 says of its success ("created", "removed") goes to standard output.
package command
