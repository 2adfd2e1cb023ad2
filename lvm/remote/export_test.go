package remote

// For the tests of the package's outside.
var (
	ParseCommand  = parseCommand
	AppendCommand = appendCommand
)
