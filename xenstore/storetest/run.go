package storetest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// Service is a service that scripts are played to.
type Service interface {
	// Open connects: a client of the socket (false), or a domain on its ring.
	Open(d xen.DomID, domain bool) (io.ReadWriteCloser, error)
	// MakeDomain makes a domain; its ring is there.
	MakeDomain(d xen.DomID) error
	// Shutdown lets a domain shut down, Destroy ends it. Neither tells the service.
	Shutdown(d xen.DomID) error
	Destroy(d xen.DomID) error
	// Exception tells the service that a domain shut down or is gone.
	Exception() error
}

// A Player plays a script to a service.
type Player struct {
	service Service
	conns   map[string]*conn
	names   []string
	nextReq uint32
}

type conn struct {
	rw   io.ReadWriteCloser
	name string
	over bool
}

// NewPlayer makes a player.
func NewPlayer(s Service) *Player { return &Player{service: s, conns: make(map[string]*conn)} }

// Close closes all connections.
func (p *Player) Close() {
	for _, c := range p.conns {
		c.rw.Close()
	}
}

// Do does a step and returns what came of it.
func (p *Player) Do(text string) ([]string, error) {
	cmd, rest, _ := strings.Cut(text, " ")
	switch cmd {
	case "domain", "shutdown", "gone":
		n, err := strconv.ParseUint(rest, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q: bad domain", text)
		}
		d := xen.DomID(n)
		switch cmd {
		case "domain":
			return nil, p.service.MakeDomain(d)
		case "shutdown":
			return nil, p.service.Shutdown(d)
		}
		if c := p.conns["d"+rest]; c != nil {
			p.close(c)
		}
		return nil, p.service.Destroy(d)
	case "exception":
		if err := p.service.Exception(); err != nil {
			return nil, err
		}
		return p.events(4) // it may be behind other events of the service's
	case "close":
		if c := p.conns[rest]; c != nil {
			p.close(c)
		}
		return nil, nil
	case "repeat":
		return p.repeat(rest)
	}
	return p.request(text)
}

func (p *Player) close(c *conn) {
	c.rw.Close()
	delete(p.conns, c.name)
	p.names = slices.DeleteFunc(p.names, func(n string) bool { return n == c.name })
}

func (p *Player) repeat(rest string) ([]string, error) {
	times, text, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(times)
	if err != nil {
		return nil, fmt.Errorf("%q: want a number", rest)
	}
	var (
		all  []string
		last string
		from int
	)
	tell := func(to int) {
		if from > 0 && last != "" {
			all = append(all, fmt.Sprintf("%d-%d: %s", from, to, last))
		}
	}
	for i := 1; i <= n; i++ {
		out, err := p.request(strings.ReplaceAll(text, "$i", strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		if s := strings.ReplaceAll(strings.Join(out, " "), strconv.Itoa(i), "$i"); s != last {
			tell(i - 1)
			last, from = s, i
		}
	}
	tell(n)
	return all, nil
}

// open returns a connection by its name, and makes it when it is first named.
func (p *Player) open(name string) (*conn, error) {
	if c := p.conns[name]; c != nil {
		return c, nil
	}
	if len(name) < 2 || name[0] != 's' && name[0] != 'd' {
		return nil, fmt.Errorf("%q is no command, and no connection such as s1 or d5", name)
	}
	n, err := strconv.ParseUint(name[1:], 10, 16)
	if err != nil {
		return nil, fmt.Errorf("bad connection %q", name)
	}
	rw, err := p.service.Open(xen.DomID(n), name[0] == 'd')
	if err != nil {
		return nil, err
	}
	c := &conn{rw: rw, name: name}
	p.conns[name] = c
	p.names = append(p.names, name)
	slices.Sort(p.names)
	return c, nil
}

func (p *Player) request(text string) ([]string, error) {
	r, err := parseRequest(text)
	if err != nil {
		return nil, err
	}
	c, err := p.open(r.conn)
	if err != nil {
		return nil, err
	}
	p.nextReq++
	r.header.Req = p.nextReq
	c.over = c.over || len(r.payload) > xs.PayloadMax
	out, err := c.ask(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	rest, err := p.events(1)
	return append(out, rest...), err
}

// ask sends a request and returns the reply, then the events that came before it.
func (c *conn) ask(r request) ([]string, error) {
	if _, err := c.rw.Write(xs.AppendMessage(nil, r.header, r.payload)); err != nil && !c.over {
		return nil, err
	}
	var events []string
	for {
		h, payload, err := c.read()
		switch {
		case err != nil && c.over:
			return append([]string{"closed"}, events...), nil
		case err != nil:
			return nil, err
		case h.Op == xs.WatchEvent:
			events = append(events, c.name+"! "+show(payload))
			continue
		case h.Req != r.header.Req || h.Tx != r.header.Tx:
			return nil, fmt.Errorf("reply to request %d, transaction %d", h.Req, h.Tx)
		}
		out := show(payload)
		switch {
		case h.Op == xs.ErrorReply:
			out = strings.TrimSuffix(out, "|")
		case h.Op != r.header.Op:
			out = "a reply of type " + h.Op.String()
		case h.Op == xs.DirectoryPart:
			_, rest, _ := strings.Cut(out, "|")
			out = "(generation)|" + rest
			if len(payload) > 200 {
				out = fmt.Sprintf("%d bytes", len(payload)-strings.IndexByte(string(payload), 0))
			}
		}
		return append([]string{out}, events...), nil
	}
}

func (c *conn) read() (xs.Header, []byte, error) {
	var hb [xs.HeaderSize]byte
	if _, err := io.ReadFull(c.rw, hb[:]); err != nil {
		return xs.Header{}, nil, err
	}
	h, err := xs.ParseHeader(hb[:])
	if err != nil {
		return h, nil, err
	}
	if h.Len > 1<<20 {
		return h, nil, errors.New("reply is far too long")
	}
	b := make([]byte, h.Len)
	_, err = io.ReadFull(c.rw, b)
	return h, b, err
}

// events asks something harmless on each connection, some times: what comes before the reply are events that waited.
func (p *Player) events(times int) ([]string, error) {
	got := make(map[string][]string)
	for range times {
		for _, name := range p.names {
			c := p.conns[name]
			if c.over {
				continue
			}
			p.nextReq++
			r := request{header: xs.Header{Op: xs.GetDomainPath, Req: p.nextReq}, payload: []byte("0\x00")}
			out, err := c.ask(r)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			got[name] = append(got[name], out[1:]...)
		}
	}
	var all []string
	for _, name := range p.names {
		all = append(all, got[name]...)
	}
	return all, nil
}
