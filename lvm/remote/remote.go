package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Dir is where the nodes are, below the home of the domain that serves.
const Dir = "data/mlvm"

// Limits. xenstored allows a domain 2048 bytes in a node.
const (
	CommandMax = 1800 // bytes of a command line as JSON
	PieceMax   = 1800 // bytes of output in a node
	Window     = 8    // pieces that wait to be read

	idMax = 32
)

// How long the server waits for a caller: to take output, and to take a reply that is complete.
const (
	stall  = 20 * time.Second
	linger = time.Minute
)

// Interrupted is the exit code of a command that was begun and may or may not have been carried out.
const Interrupted = 5

// What a caller can act on.
var (
	ErrNotServing  = errors.New("the domain takes no commands")
	ErrTooLong     = errors.New("the command line is too long for xenstore")
	ErrNoDomain    = errors.New("no such domain")
	ErrInterrupted = errors.New("the domain ended meanwhile; whether the command was carried out shows mlvm --domain … lvs")
)

// Error is a command that could not be handed over.
type Error struct {
	Domain string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("domain %s: %v", e.Domain, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// appendCommand makes the value of a request.
func appendCommand(args []string) ([]byte, error) {
	b, err := json.Marshal(args)
	if err == nil && len(b) > CommandMax {
		err = fmt.Errorf("%w: %d bytes, at most %d fit", ErrTooLong, len(b), CommandMax)
	}
	return b, err
}

// parseCommand reads one.
func parseCommand(v string) (args []string, err error) {
	if len(v) > CommandMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d fit", ErrTooLong, len(v), CommandMax)
	}
	if err := json.Unmarshal([]byte(v), &args); err != nil {
		return nil, fmt.Errorf("the request is no command line: %w", err)
	}
	if len(args) == 0 {
		return nil, errors.New("the request is no command line: it is empty")
	}
	return args, nil
}

// parseCode reads the last node of a reply.
func parseCode(v string) (code, pieces int, err error) {
	c, n, _ := strings.Cut(v, " ")
	if code, err = strconv.Atoi(c); err == nil {
		pieces, err = strconv.Atoi(n)
	}
	if err != nil || code < 0 || code > 255 || pieces < 0 {
		return 0, 0, fmt.Errorf("the reply ends with %.40q, which is no exit code", v)
	}
	return code, pieces, nil
}

func validID(id string) bool {
	return len(id) > 0 && len(id) <= idMax && strings.Trim(id, "0123456789abcdef") == ""
}
