package migration

import (
	"encoding/binary"
	"errors"
	"fmt"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// Type is a record's type.
type Type uint32

// The types of version 1. Those from FirstPrivate on are for who makes them.
const (
	End           Type = 0
	GlobalType    Type = 1
	ConnType      Type = 2
	WatchType     Type = 3
	TxType        Type = 4
	NodeType      Type = 5
	FirstPrivate  Type = 0x10000
	ident              = "xenstore"
	version            = 1
	preambleSize       = 16
	recordHeader       = 8
	flagBigEndian      = 1
)

// NoDomain stands for no domain (DOMID_INVALID).
const NoDomain xen.DomID = 0x7ff4

// ErrFormat says that a stream is not one of records.
var ErrFormat = errors.New("xenstore state: malformed")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// AppendPreamble begins a stream.
func AppendPreamble(dst []byte) []byte {
	dst = append(dst, ident...)
	dst = binary.BigEndian.AppendUint32(dst, version)
	return binary.BigEndian.AppendUint32(dst, 0)
}

// ParsePreamble checks the beginning of a stream and returns the rest.
func ParsePreamble(b []byte) ([]byte, error) {
	switch {
	case len(b) < preambleSize || string(b[:8]) != ident:
		return nil, bad("it does not begin with %q", ident)
	case binary.BigEndian.Uint32(b[8:]) != version:
		return nil, bad("version %d, want %d", binary.BigEndian.Uint32(b[8:]), version)
	case binary.BigEndian.Uint32(b[12:]) != 0:
		return nil, bad("flags %#x: not a little-endian stream", binary.BigEndian.Uint32(b[12:]))
	}
	return b[preambleSize:], nil
}

// Append appends a record of any type.
func Append(dst []byte, t Type, body ...[]byte) []byte {
	start := len(dst)
	dst = open(dst, t)
	for _, b := range body {
		dst = append(dst, b...)
	}
	return closed(dst, start)
}

// open begins a record; closed pads it and sets its length.
func open(dst []byte, t Type) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t))
	return append(dst, 0, 0, 0, 0)
}

func closed(dst []byte, start int) []byte {
	for (len(dst)-start)%8 != 0 {
		dst = append(dst, 0)
	}
	binary.LittleEndian.PutUint32(dst[start+4:], uint32(len(dst)-start-recordHeader))
	return dst
}

// Parse splits off the first record.
func Parse(b []byte) (t Type, body, rest []byte, err error) {
	if len(b) < recordHeader {
		return 0, nil, nil, bad("%d bytes left, a record has %d", len(b), recordHeader)
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if uint64(n) > uint64(len(b)-recordHeader) {
		return 0, nil, nil, bad("a record of %d bytes, %d left", n, len(b)-recordHeader)
	}
	end := recordHeader + int(n)
	return Type(binary.LittleEndian.Uint32(b)), b[recordHeader:end:end], b[end:], nil
}

// Global is the daemon's own.
type Global struct {
	Socket int32 // file descriptor that listens, -1 for none
	Events int32 // file descriptor of event channels
}

// AppendGlobal appends g as a record.
func AppendGlobal(dst []byte, g Global) []byte {
	start := len(dst)
	dst = open(dst, GlobalType)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(g.Socket))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(g.Events))
	return closed(dst, start)
}

// ParseGlobal decodes the body of such a record.
func ParseGlobal(b []byte) (Global, error) {
	if len(b) < 8 {
		return Global{}, bad("global record of %d bytes", len(b))
	}
	return Global{int32(binary.LittleEndian.Uint32(b)), int32(binary.LittleEndian.Uint32(b[4:]))}, nil
}

// Conn is a connection.
type Conn struct {
	ID     uint32
	Socket bool
	FD     int32     // of a client of the socket
	Dom    xen.DomID // of a ring
	Target xen.DomID // NoDomain if it has none
	Port   xen.Port  // the daemon's
	In     []byte    // received and not handled
	Out    []byte    // to be sent
	// Partial is how many bytes at the beginning of Out are the rest of a message that is half sent.
	Partial int
}

const connHeader = 24

// AppendConn appends c as a record.
func AppendConn(dst []byte, c Conn) []byte {
	start := len(dst)
	dst = open(dst, ConnType)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, c.ID)
	if c.Socket {
		dst = le.AppendUint16(dst, 1)
		dst = le.AppendUint16(dst, 0)
		dst = le.AppendUint32(dst, uint32(c.FD))
		dst = le.AppendUint32(dst, 0)
	} else {
		dst = le.AppendUint32(dst, 0)
		dst = le.AppendUint16(dst, uint16(c.Dom))
		dst = le.AppendUint16(dst, uint16(c.Target))
		dst = le.AppendUint32(dst, uint32(c.Port))
	}
	dst = le.AppendUint16(dst, uint16(len(c.In)))
	dst = le.AppendUint16(dst, uint16(c.Partial))
	dst = le.AppendUint32(dst, uint32(len(c.Out)))
	return closed(append(append(dst, c.In...), c.Out...), start)
}

// ParseConn decodes the body of such a record.
func ParseConn(b []byte) (Conn, error) {
	if len(b) < connHeader {
		return Conn{}, bad("connection record of %d bytes", len(b))
	}
	le := binary.LittleEndian
	c := Conn{ID: le.Uint32(b), Target: NoDomain, Partial: int(le.Uint16(b[18:]))}
	switch t := le.Uint16(b[4:]); t {
	case 0:
		c.Dom, c.Target, c.Port = xen.DomID(le.Uint16(b[8:])), xen.DomID(le.Uint16(b[10:])), xen.Port(le.Uint32(b[12:]))
	case 1:
		c.Socket, c.FD = true, int32(le.Uint32(b[8:]))
	default:
		return Conn{}, bad("connection %d of type %d", c.ID, t)
	}
	in, out := uint64(le.Uint16(b[16:])), uint64(le.Uint32(b[20:]))
	if in+out > uint64(len(b)-connHeader) || uint64(c.Partial) > out {
		return Conn{}, bad("connection %d: %d bytes in, %d out (%d partial), %d there", c.ID, in, out, c.Partial, len(b)-connHeader)
	}
	b = b[connHeader:]
	c.In, c.Out = b[:in:in], b[in:in+out:in+out]
	return c, nil
}

// Watch is a watch.
type Watch struct {
	Conn  uint32
	Path  string // as it was given
	Token string
}

// AppendWatch appends w as a record of a type.
func AppendWatch(dst []byte, t Type, w Watch) []byte {
	start := len(dst)
	dst = open(dst, t)
	dst = binary.LittleEndian.AppendUint32(dst, w.Conn)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(w.Path)+1))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(w.Token)+1))
	return closed(xs.AppendWatch(dst, w.Path, w.Token), start)
}

// ParseWatch decodes the body of such a record.
func ParseWatch(b []byte) (Watch, error) {
	if len(b) < 8 {
		return Watch{}, bad("watch record of %d bytes", len(b))
	}
	p, t := int(binary.LittleEndian.Uint16(b[4:])), int(binary.LittleEndian.Uint16(b[6:]))
	if p == 0 || t == 0 || p+t > len(b)-8 || b[8+p-1] != 0 || b[8+p+t-1] != 0 {
		return Watch{}, bad("watch record: path of %d bytes, token of %d, %d there", p, t, len(b)-8)
	}
	return Watch{binary.LittleEndian.Uint32(b), string(b[8 : 8+p-1]), string(b[8+p : 8+p+t-1])}, nil
}

// Tx is an open transaction.
type Tx struct{ Conn, ID uint32 }

// AppendTx appends t as a record of a type.
func AppendTx(dst []byte, typ Type, t Tx) []byte {
	start := len(dst)
	dst = open(dst, typ)
	dst = binary.LittleEndian.AppendUint32(dst, t.Conn)
	return closed(binary.LittleEndian.AppendUint32(dst, t.ID), start)
}

// ParseTx decodes the body of such a record.
func ParseTx(b []byte) (Tx, error) {
	if len(b) < 8 {
		return Tx{}, bad("transaction record of %d bytes", len(b))
	}
	return Tx{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}, nil
}

// Node is a node, or a special path with its permissions.
type Node struct {
	Conn, Tx uint32 // of a transaction's node
	Access   uint16
	Path     string
	Value    string
	Perms    []store.Entry
}

const nodeHeader = 16

// AppendNode appends a node that is in no transaction as a record.
func AppendNode(dst []byte, path, value string, perms []store.Entry) []byte {
	return AppendNodeAs(dst, NodeType, 0, path, value, perms)
}

// AppendNodeAs is AppendNode for a record of another type with the same layout, whose first word means something else.
func AppendNodeAs(dst []byte, typ Type, first uint32, path, value string, perms []store.Entry) []byte {
	start := len(dst)
	dst = open(dst, typ)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, first)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint16(dst, uint16(len(path)+1))
	dst = le.AppendUint16(dst, uint16(len(value)))
	dst = le.AppendUint16(dst, 0)
	dst = le.AppendUint16(dst, uint16(len(perms)))
	for _, p := range perms {
		ignored := byte(0)
		if p.Ignored {
			ignored = 1
		}
		dst = le.AppendUint16(append(dst, byte(p.Access), ignored), uint16(p.Dom))
	}
	return closed(append(append(append(dst, path...), 0), value...), start)
}

// ParseNode decodes the body of such a record.
func ParseNode(b []byte) (Node, error) {
	if len(b) < nodeHeader {
		return Node{}, bad("node record of %d bytes", len(b))
	}
	le := binary.LittleEndian
	n := Node{Conn: le.Uint32(b), Tx: le.Uint32(b[4:]), Access: le.Uint16(b[12:])}
	path, value, perms := int(le.Uint16(b[8:])), int(le.Uint16(b[10:])), int(le.Uint16(b[14:]))
	b = b[nodeHeader:]
	if path == 0 || perms*4+path+value > len(b) || b[perms*4+path-1] != 0 {
		return Node{}, bad("node record: path of %d bytes, value of %d, %d permissions, %d bytes there", path, value, perms, len(b))
	}
	n.Perms = make([]store.Entry, perms)
	for i := range n.Perms {
		p := &n.Perms[i]
		p.Access, p.Ignored, p.Dom = xs.Access(b[4*i]), b[4*i+1]&1 != 0, xen.DomID(le.Uint16(b[4*i+2:]))
		switch p.Access {
		case xs.AccessRead, xs.AccessWrite, xs.AccessBoth:
		default:
			p.Access = xs.AccessNone
		}
	}
	b = b[4*perms:]
	n.Path, n.Value = string(b[:path-1]), string(b[path:path+value])
	return n, nil
}
