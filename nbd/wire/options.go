package wire

import (
	"encoding/binary"
	"fmt"
)

// An Info is a kind of information about an export.
type Info uint16

// The kinds of information.
const (
	InfoExport      Info = 0
	InfoName        Info = 1
	InfoDescription Info = 2
	InfoBlockSize   Info = 3
)

// A Selection is the data of OptInfo and OptGo: an export and what the client wants to know of it.
type Selection struct {
	Name string
	Want []Info
}

// AppendSelection appends the data of OptInfo or OptGo.
func AppendSelection(dst []byte, s Selection) []byte {
	dst = appendString(dst, s.Name)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.Want)))
	for _, w := range s.Want {
		dst = binary.BigEndian.AppendUint16(dst, uint16(w))
	}
	return dst
}

// ParseSelection parses the data of OptInfo or OptGo.
func ParseSelection(b []byte) (Selection, error) {
	name, b, err := cutString(b)
	if err != nil {
		return Selection{}, err
	}
	if len(b) < 2 || len(b) != 2+2*int(binary.BigEndian.Uint16(b)) {
		return Selection{}, fmt.Errorf("%w: %d bytes of information requests", ErrLength, len(b))
	}
	s := Selection{Name: name}
	for b = b[2:]; len(b) > 0; b = b[2:] {
		s.Want = append(s.Want, Info(binary.BigEndian.Uint16(b)))
	}
	return s, nil
}

// Flags tell what an export can do (transmission flags).
type Flags uint16

// The transmission flags.
const (
	HasFlags        Flags = 1 << 0
	ReadOnly        Flags = 1 << 1
	SendFlush       Flags = 1 << 2
	SendFUA         Flags = 1 << 3
	Rotational      Flags = 1 << 4
	SendTrim        Flags = 1 << 5
	SendWriteZeroes Flags = 1 << 6
	SendDF          Flags = 1 << 7
	CanMultiConn    Flags = 1 << 8
	SendCache       Flags = 1 << 10
	SendFastZero    Flags = 1 << 11
)

// An ExportInfo is what RepInfo tells of an export; Kind says which fields hold.
type ExportInfo struct {
	Kind        Info
	Size        uint64 // InfoExport: in bytes
	Flags       Flags  // InfoExport
	Text        string // InfoName, InfoDescription
	Min, Pref   uint32 // InfoBlockSize: bytes
	MaxTransfer uint32 // InfoBlockSize: the longest payload, bytes
}

// AppendInfo appends the data of a RepInfo.
func AppendInfo(dst []byte, i ExportInfo) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(i.Kind))
	switch i.Kind {
	case InfoExport:
		dst = binary.BigEndian.AppendUint64(dst, i.Size)
		dst = binary.BigEndian.AppendUint16(dst, uint16(i.Flags))
	case InfoName, InfoDescription:
		dst = append(dst, i.Text...)
	case InfoBlockSize:
		dst = binary.BigEndian.AppendUint32(dst, i.Min)
		dst = binary.BigEndian.AppendUint32(dst, i.Pref)
		dst = binary.BigEndian.AppendUint32(dst, i.MaxTransfer)
	}
	return dst
}

// ParseInfo parses the data of a RepInfo. Of a kind that it does not know only Kind is set.
func ParseInfo(b []byte) (ExportInfo, error) {
	if len(b) < 2 {
		return ExportInfo{}, fmt.Errorf("%w: information of %d bytes", ErrLength, len(b))
	}
	i := ExportInfo{Kind: Info(binary.BigEndian.Uint16(b))}
	b = b[2:]
	want := len(b)
	switch i.Kind {
	case InfoExport:
		if want = 10; len(b) == want {
			i.Size, i.Flags = binary.BigEndian.Uint64(b), Flags(binary.BigEndian.Uint16(b[8:]))
		}
	case InfoName, InfoDescription:
		i.Text = string(b)
	case InfoBlockSize:
		if want = 12; len(b) == want {
			i.Min, i.Pref, i.MaxTransfer = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		}
	}
	if len(b) != want {
		return ExportInfo{}, fmt.Errorf("%w: %d bytes of information %d, want %d", ErrLength, len(b), i.Kind, want)
	}
	return i, nil
}

// A Listed is an export in the reply to OptList.
type Listed struct{ Name, Description string }

// AppendListed appends the data of a RepServer.
func AppendListed(dst []byte, l Listed) []byte {
	return append(appendString(dst, l.Name), l.Description...)
}

// ParseListed parses the data of a RepServer.
func ParseListed(b []byte) (Listed, error) {
	name, rest, err := cutString(b)
	return Listed{name, string(rest)}, err
}

// A ContextQuery is the data of OptSetMetaContext and OptListMetaContext.
type ContextQuery struct {
	Name    string // of the export
	Queries []string
}

// AppendContextQuery appends the data of OptSetMetaContext or OptListMetaContext.
func AppendContextQuery(dst []byte, q ContextQuery) []byte {
	dst = appendString(dst, q.Name)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(q.Queries)))
	for _, s := range q.Queries {
		dst = appendString(dst, s)
	}
	return dst
}

// ParseContextQuery parses the data of OptSetMetaContext or OptListMetaContext.
func ParseContextQuery(b []byte) (ContextQuery, error) {
	name, b, err := cutString(b)
	if err != nil {
		return ContextQuery{}, err
	}
	if len(b) < 4 {
		return ContextQuery{}, fmt.Errorf("%w: the number of queries is cut off", ErrLength)
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n)*4 > uint64(len(b)) {
		return ContextQuery{}, fmt.Errorf("%w: %d queries in %d bytes", ErrLength, n, len(b))
	}
	q := ContextQuery{Name: name}
	for range n {
		var s string
		if s, b, err = cutString(b); err != nil {
			return ContextQuery{}, err
		}
		q.Queries = append(q.Queries, s)
	}
	if len(b) > 0 {
		return ContextQuery{}, fmt.Errorf("%w: %d bytes after the last query", ErrLength, len(b))
	}
	return q, nil
}

// A Context is a kind of metadata that OptSetMetaContext selected: the id is how block status replies call it.
type Context struct {
	ID   uint32
	Name string
}

// BaseAllocation is the one metadata context that the protocol itself defines.
const BaseAllocation = "base:allocation"

// AppendContext appends the data of a RepMetaContext.
func AppendContext(dst []byte, c Context) []byte {
	return append(binary.BigEndian.AppendUint32(dst, c.ID), c.Name...)
}

// ParseContext parses the data of a RepMetaContext.
func ParseContext(b []byte) (Context, error) {
	if len(b) < 4 {
		return Context{}, fmt.Errorf("%w: a metadata context of %d bytes", ErrLength, len(b))
	}
	return Context{binary.BigEndian.Uint32(b), string(b[4:])}, nil
}
