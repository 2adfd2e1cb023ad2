// Package wire is what the test bed and its agent in dom0 say to each other, a JSON object a line.
package wire

// A Request starts a command (Args), feeds one, or ends the agent.
type Request struct {
	ID    int      `json:"id"`
	Args  []string `json:"args,omitempty"`
	Open  bool     `json:"open,omitempty"` // keep standard input open
	Stdin []byte   `json:"stdin,omitempty"`
	Close bool     `json:"close,omitempty"`
	Kill  bool     `json:"kill,omitempty"`
	Quit  bool     `json:"quit,omitempty"`
}

// A Reply carries output of a command or its end. ID 0 says that the agent is ready.
type Reply struct {
	ID     int    `json:"id"`
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	Done   bool   `json:"done,omitempty"`
	Exit   int    `json:"exit,omitempty"`
}
