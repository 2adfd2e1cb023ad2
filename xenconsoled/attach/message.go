package attach

import (
	"encoding/json"
	"errors"
	"fmt"

	"morgana/xenconsoled"
)

// What may be asked for.
const (
	OpList   = "list"
	OpAttach = "attach" // read on, and type
	OpLogs   = "logs"   // read what there is, and on if Follow is set
	OpType   = "type"   // type as the guest's terminal does, and be told what the guest was given: see Keyboard
)

// Modes of OpAttach.
const (
	ModeRead   = "read"
	ModeShared = "shared"
	ModeSole   = "sole"
)

// Request is what a client wants.
type Request struct {
	Op    string `json:"op"`
	Guest string `json:"guest,omitempty"` // its name, or its number
	Dom   uint16 `json:"dom,omitempty"`   // its number, which then counts instead
	Mode  string `json:"mode,omitempty"`  // of OpAttach; "" stands for ModeShared
	// From is the number of the first byte to be sent. Lines says how many of the last lines are sent at least. OpLogs
	// sends all there is when it has neither.
	From   *uint64 `json:"from,omitempty"`
	Lines  int     `json:"lines,omitempty"`
	Follow bool    `json:"follow,omitempty"`
}

// Info is a console.
type Info struct {
	Dom     uint16 `json:"dom"`
	Name    string `json:"name"`
	Start   uint64 `json:"start"` // the number of the oldest byte that is kept
	End     uint64 `json:"end"`   // how many bytes the guest has written
	Logged  uint64 `json:"logged"`
	Lost    uint64 `json:"lost"` // bytes that the log could not take and has not told of
	Lines   uint64 `json:"lines"`
	Dropped uint64 `json:"dropped"` // bytes that terminals and sessions missed because they lagged
	Typed   uint64 `json:"typed"`   // bytes that the guest was given
	Writers int    `json:"writers"`
	// Input is the index in the guest's ring of the byte that is typed next: for OpType.
	Input uint32 `json:"input,omitempty"`
}

// End is how an attachment ended.
type End struct {
	Gone bool   `json:"gone"` // the guest is
	Next uint64 `json:"next"` // the number of the byte after the last that was sent
}

// Codes of failures.
const (
	CodeRequest  = "bad-request"
	CodeNotFound = "not-found"
	CodeTaken    = "taken"
	CodeBusy     = "busy"
	CodeAway     = "away"
)

// Failure is why a request failed. It matches ErrNotFound, ErrTaken of package xenconsoled, and so on.
type Failure struct {
	Code string `json:"code"`
	Text string `json:"error"`
}

// What a request may fail with.
var (
	ErrNotFound = errors.New("no such guest")
	ErrRequest  = errors.New("not a request that is known")
	ErrBusy     = errors.New("too many connections")
	ErrAway     = errors.New("the console domain is away")
)

func (f *Failure) Error() string { return f.Text }

// Unwrap returns what callers can act on.
func (f *Failure) Unwrap() error {
	switch f.Code {
	case CodeNotFound:
		return ErrNotFound
	case CodeTaken:
		return xenconsoled.ErrTaken
	case CodeBusy:
		return ErrBusy
	case CodeAway:
		return ErrAway
	}
	return ErrRequest
}

// parseRequest reads and checks a request.
func parseRequest(body []byte) (r Request, mode xenconsoled.Mode, err error) {
	if err := json.Unmarshal(body, &r); err != nil {
		return r, 0, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	switch r.Op {
	case OpList, OpLogs, OpType:
	case OpAttach:
		switch r.Mode {
		case ModeRead:
		case ModeShared, "":
			mode = xenconsoled.Shared
		case ModeSole:
			mode = xenconsoled.Sole
		default:
			return r, 0, fmt.Errorf("%w: mode %q", ErrRequest, r.Mode)
		}
	default:
		return r, 0, fmt.Errorf("%w: %q", ErrRequest, r.Op)
	}
	if r.Lines < 0 {
		return r, 0, fmt.Errorf("%w: %d lines", ErrRequest, r.Lines)
	}
	return r, mode, nil
}
