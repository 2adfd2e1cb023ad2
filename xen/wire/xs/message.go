package xs

import (
	"encoding/binary"
	"fmt"
)

// Limits of xs_wire.h, in bytes.
const (
	HeaderSize = 16
	PayloadMax = 4096 // XENSTORE_PAYLOAD_MAX, requests and replies alike
	AbsPathMax = 3072 // XENSTORE_ABS_PATH_MAX
	RelPathMax = 2048 // XENSTORE_REL_PATH_MAX
)

// Op is a message's type (enum xsd_sockmsg_type).
type Op uint32

// The message types of Xen 4.17.
const (
	Control            Op = 0
	Directory          Op = 1
	Read               Op = 2
	GetPerms           Op = 3
	Watch              Op = 4
	Unwatch            Op = 5
	TransactionStart   Op = 6
	TransactionEnd     Op = 7
	Introduce          Op = 8
	Release            Op = 9
	GetDomainPath      Op = 10
	Write              Op = 11
	Mkdir              Op = 12
	Remove             Op = 13
	SetPerms           Op = 14
	WatchEvent         Op = 15
	ErrorReply         Op = 16
	IsDomainIntroduced Op = 17
	Resume             Op = 18
	SetTarget          Op = 19
	ResetWatches       Op = 21
	DirectoryPart      Op = 22
)

var opNames = [...]string{
	Control: "CONTROL", Directory: "DIRECTORY", Read: "READ", GetPerms: "GET_PERMS", Watch: "WATCH",
	Unwatch: "UNWATCH", TransactionStart: "TRANSACTION_START", TransactionEnd: "TRANSACTION_END",
	Introduce: "INTRODUCE", Release: "RELEASE", GetDomainPath: "GET_DOMAIN_PATH", Write: "WRITE", Mkdir: "MKDIR",
	Remove: "RM", SetPerms: "SET_PERMS", WatchEvent: "WATCH_EVENT", ErrorReply: "ERROR",
	IsDomainIntroduced: "IS_DOMAIN_INTRODUCED", Resume: "RESUME", SetTarget: "SET_TARGET",
	ResetWatches: "RESET_WATCHES", DirectoryPart: "DIRECTORY_PART",
}

// Known reports whether the protocol of Xen 4.17 has the type.
func (o Op) Known() bool { return int64(o) < int64(len(opNames)) && opNames[o] != "" }

func (o Op) String() string {
	if o.Known() {
		return opNames[o]
	}
	return fmt.Sprintf("op %d", uint32(o))
}

// Header precedes each message (struct xsd_sockmsg). A reply repeats the request's Op (or has ErrorReply), Req and
// Tx; a watch event has Req and Tx 0.
type Header struct {
	Op  Op
	Req uint32 // the client's choice
	Tx  uint32 // the transaction, 0 for none
	Len uint32 // of the payload, in bytes
}

// AppendHeader appends h.
func AppendHeader(dst []byte, h Header) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.Op))
	dst = binary.LittleEndian.AppendUint32(dst, h.Req)
	dst = binary.LittleEndian.AppendUint32(dst, h.Tx)
	return binary.LittleEndian.AppendUint32(dst, h.Len)
}

// ParseHeader decodes the first HeaderSize bytes of b. It does not judge Op or Len: what is allowed there depends
// on the direction.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("xenstore message: %d bytes, a header has %d", len(b), HeaderSize)
	}
	return Header{
		Op:  Op(binary.LittleEndian.Uint32(b)),
		Req: binary.LittleEndian.Uint32(b[4:]),
		Tx:  binary.LittleEndian.Uint32(b[8:]),
		Len: binary.LittleEndian.Uint32(b[12:]),
	}, nil
}

// AppendMessage appends a whole message; h.Len is set from the payload, which must not exceed PayloadMax.
func AppendMessage(dst []byte, h Header, payload []byte) []byte {
	h.Len = uint32(len(payload))
	return append(AppendHeader(dst, h), payload...)
}

// ParseMessage decodes the message at the start of b and returns the rest of b. A length above PayloadMax is an
// error; a message that is not complete yet is an error matching ErrShort.
func ParseMessage(b []byte) (h Header, payload, rest []byte, err error) {
	if len(b) < HeaderSize {
		return Header{}, nil, b, ErrShort
	}
	h, err = ParseHeader(b)
	if err != nil {
		return Header{}, nil, b, err
	}
	if h.Len > PayloadMax {
		return h, nil, b, fmt.Errorf("xenstore %v: payload of %d bytes, at most %d allowed", h.Op, h.Len, PayloadMax)
	}
	end := HeaderSize + int(h.Len)
	if len(b) < end {
		return h, nil, b, ErrShort
	}
	return h, b[HeaderSize:end:end], b[end:], nil
}
