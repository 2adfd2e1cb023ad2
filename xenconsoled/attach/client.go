package attach

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Client is a connection for one request. Close it, which also ends a Read under way.
type Client struct {
	conn io.ReadWriteCloser
	in   frames

	info Info
	rest []byte // of the last frame
	next uint64 // the number of the byte that comes next, if known
	have bool   // it is
	lost uint64
	end  *End

	mu  sync.Mutex // held by who writes
	buf []byte
}

// NewClient makes a client of a connection, which becomes the client's.
func NewClient(conn io.ReadWriteCloser) *Client { return &Client{conn: conn, in: frames{r: conn}} }

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// List asks for the consoles there are.
func (c *Client) List() ([]Info, error) {
	body, err := c.ask(Request{Op: OpList}, kindList)
	if err != nil {
		return nil, err
	}
	var list []Info
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return list, nil
}

// Open begins to read a console: what r says. Read and Write go on from here.
func (c *Client) Open(r Request) (Info, error) {
	body, err := c.ask(r, kindInfo)
	if err != nil {
		return Info{}, err
	}
	if err := json.Unmarshal(body, &c.info); err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if r.From != nil {
		c.next, c.have = *r.From, true
	}
	return c.info, nil
}

func (c *Client) ask(r Request, want byte) ([]byte, error) {
	if err := send(c.conn, kindRequest, r); err != nil {
		return nil, err
	}
	kind, body, err := c.in.next()
	switch {
	case err != nil:
		return nil, err
	case kind == kindFailure:
		return nil, failure(body)
	case kind != want:
		return nil, fmt.Errorf("%w: the answer is %q", ErrProtocol, kind)
	}
	return body, nil
}

func failure(body []byte) error {
	f := &Failure{}
	if err := json.Unmarshal(body, f); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return f
}

// Read reads what the guest says. It returns io.EOF at the end, of which End tells, and io.ErrUnexpectedEOF when the
// service went away.
func (c *Client) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.end != nil {
			return 0, io.EOF
		}
		kind, body, err := c.in.next()
		switch {
		case err == io.EOF:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		}
		switch kind {
		case kindOutput:
			from, b := parseOutput(body)
			if c.have && from > c.next {
				c.lost += from - c.next
			}
			c.rest, c.next, c.have = b, from, true
		case kindEnd:
			end := &End{}
			if err := json.Unmarshal(body, end); err != nil {
				return 0, fmt.Errorf("%w: %w", ErrProtocol, err)
			}
			c.end = end
		case kindFailure:
			return 0, failure(body)
		default:
			return 0, fmt.Errorf("%w: %q while reading", ErrProtocol, kind)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	c.next += uint64(n)
	return n, nil
}

// Next is the number of the byte that Read returns next: where another connection goes on.
func (c *Client) Next() uint64 { return c.next }

// Lost is how many bytes were missed since it was last asked.
func (c *Client) Lost() uint64 {
	n := c.lost
	c.lost = 0
	return n
}

// End is how it ended, once Read has returned io.EOF.
func (c *Client) End() End {
	if c.end == nil {
		return End{}
	}
	return *c.end
}

// Given waits until the guest was given more of what was typed, after OpType: n bytes of this connection by now, behind
// which the index in its ring is index. It fails with io.ErrUnexpectedEOF when the service, or the guest, went away. It may
// be called while Write is.
func (c *Client) Given() (n uint64, index uint32, err error) {
	kind, body, err := c.in.next()
	switch {
	case err == io.EOF:
		return 0, 0, io.ErrUnexpectedEOF
	case err != nil:
		return 0, 0, err
	case kind != kindGiven:
		return 0, 0, fmt.Errorf("%w: %q while typing", ErrProtocol, kind)
	}
	n, index = parseGiven(body)
	return n, index, nil
}

// Write types p. It may be called while Read is.
func (c *Client) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		part := p[:min(len(p), frameMax)]
		c.buf = append(appendHead(c.buf[:0], kindInput, len(part)), part...)
		if _, err := c.conn.Write(c.buf); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}
