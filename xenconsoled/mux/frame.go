package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Kinds of frames.
const (
	kindOpen   = 'O'
	kindData   = 'D'
	kindWindow = 'W'
	kindClose  = 'C'
)

const (
	headSize = 8
	dataMax  = 16 << 10
	window   = 32 << 10
	// Connections is how many there may be at once.
	Connections = 256
)

// ErrProtocol says that the other side sent what nobody sends. The session is over.
var ErrProtocol = errors.New("the protocol of shared connections is broken")

type head struct {
	conn uint32
	kind byte
	size int
}

func appendHead(dst []byte, h head) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, h.conn)
	return append(dst, h.kind, byte(h.size), byte(h.size>>8), byte(h.size>>16))
}

// parseHead reads a head: headSize bytes.
func parseHead(b []byte) (h head, err error) {
	h = head{conn: binary.LittleEndian.Uint32(b), kind: b[4], size: int(b[5]) | int(b[6])<<8 | int(b[7])<<16}
	ok := false
	switch h.kind {
	case kindOpen, kindClose:
		ok = h.size == 0
	case kindData:
		ok = h.size > 0 && h.size <= dataMax
	case kindWindow:
		ok = h.size == 4
	}
	if !ok {
		return head{}, fmt.Errorf("%w: a frame %q of %d bytes", ErrProtocol, h.kind, h.size)
	}
	return h, nil
}
