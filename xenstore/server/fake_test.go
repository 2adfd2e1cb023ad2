package server

import (
	"errors"
	"io"
	"testing"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// fakeHost is a host whose domains have no rings: what they send and get is moved by hand.
type fakeHost struct {
	states map[xen.DomID]DomainState
	failed map[*Conn]uint32
	resets int
}

func newFakeHost() *fakeHost {
	return &fakeHost{states: map[xen.DomID]DomainState{0: Running}, failed: make(map[*Conn]uint32)}
}

func (h *fakeHost) State(d xen.DomID) DomainState { return h.states[d] }

func (h *fakeHost) Connect(c *Conn, port xen.Port) error {
	c.SetPort(port + 1000)
	return nil
}

func (h *fakeHost) Rebind(c *Conn, port xen.Port) error {
	c.SetPort(port + 1000)
	return nil
}

func (h *fakeHost) Reset(*Conn)                   { h.resets++ }
func (h *fakeHost) Disconnect(*Conn)              {}
func (h *fakeHost) Failed(c *Conn, reason uint32) { h.failed[c] = reason }
func (h *fakeHost) Control(_ *Conn, _ xs.Header, args []string) (string, xs.Errno, bool) {
	switch {
	case args[0] == "print" && len(args) == 2:
	case args[0] == "log" && len(args) == 2 && (args[1] == "on" || args[1] == "off"):
	case args[0] == "live-update" && len(args) > 1 && args[1] == "-a":
		return "No live-update session active.\x00", 0, false
	case args[0] == "live-update" && len(args) > 2 && args[1] == "-f":
		return "File not accessible.\x00", 0, false
	default:
		return "", xs.EINVAL, false
	}
	return "OK\x00", 0, false
}

// machine is a core with its fake host, as a service that scripts are played to.
type machine struct {
	*Core
	host *fakeHost
	log  [][]byte // what TakeLog returned, after a snapshot
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	h := newFakeHost()
	c := New(Config{Limits: store.DefaultLimits(), EventTimeout: EventTimeout, Host: h, Journal: true})
	if e := c.Introduce(0, 1); e != 0 {
		t.Fatal(e)
	}
	return &machine{Core: c, host: h}
}

func (m *machine) Open(d xen.DomID, domain bool) (io.ReadWriteCloser, error) {
	if !domain {
		return &wire{m: m, conn: m.Connect()}, nil
	}
	conn := m.ConnOf(d)
	if conn == nil {
		return nil, errors.New("the domain is not introduced")
	}
	return &wire{m: m, conn: conn}, nil
}

func (m *machine) MakeDomain(d xen.DomID) error {
	m.host.states[d] = Running
	return nil
}

func (m *machine) Shutdown(d xen.DomID) error {
	m.host.states[d] = Shutdown
	return nil
}

func (m *machine) Destroy(d xen.DomID) error {
	delete(m.host.states, d)
	return nil
}

func (m *machine) Exception() error {
	m.CheckDomains()
	return nil
}

// wire is a connection without a wire.
type wire struct {
	m    *machine
	conn *Conn
}

func (w *wire) Write(b []byte) (int, error) {
	n := w.m.Input(w.conn, b)
	if n < len(b) && !w.conn.Closed() {
		return n, errors.New("the service does not take it")
	}
	return len(b), nil
}

func (w *wire) Read(b []byte) (int, error) {
	n := copy(b, w.conn.Output())
	if n == 0 {
		return 0, io.EOF
	}
	w.m.Sent(w.conn, n)
	return n, nil
}

func (w *wire) Close() error {
	w.m.Core.Close(w.conn)
	return nil
}
