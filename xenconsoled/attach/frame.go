package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kinds of frames.
const (
	kindRequest = 'R'
	kindInput   = 'I'
	kindList    = 'L'
	kindInfo    = 'A'
	kindOutput  = 'O'
	kindGiven   = 'T'
	kindEnd     = 'Z'
	kindFailure = 'E'
)

const (
	headSize   = 4
	frameMax   = 64 << 10
	outputHead = 8 // the number of the first byte
	outputMax  = frameMax - outputHead
	listMax    = 1<<24 - 1 // a list may be longer
	givenSize  = 8 + 4     // how many bytes, and the index
)

// ErrProtocol says that the other side sent what nobody sends.
var ErrProtocol = errors.New("the protocol of consoles is broken")

// appendHead appends the head of a frame.
func appendHead(dst []byte, kind byte, size int) []byte {
	return append(dst, kind, byte(size), byte(size>>8), byte(size>>16))
}

// parseHead reads the head of a frame: four bytes.
func parseHead(b []byte) (kind byte, size int, err error) {
	kind, size = b[0], int(b[1])|int(b[2])<<8|int(b[3])<<16
	most := frameMax
	switch kind {
	case kindRequest, kindInput, kindInfo, kindOutput, kindGiven, kindEnd, kindFailure:
	case kindList:
		most = listMax
	default:
		return 0, 0, fmt.Errorf("%w: a frame of kind %q", ErrProtocol, kind)
	}
	if size > most || kind == kindOutput && size < outputHead || kind == kindGiven && size != givenSize {
		return 0, 0, fmt.Errorf("%w: a frame %q of %d bytes", ErrProtocol, kind, size)
	}
	return kind, size, nil
}

// frames reads frames. What it returns is valid until the next one.
type frames struct {
	r   io.Reader
	buf []byte
}

func (f *frames) next() (kind byte, body []byte, err error) {
	if f.buf == nil {
		f.buf = make([]byte, 4096)
	}
	if _, err := io.ReadFull(f.r, f.buf[:headSize]); err != nil {
		return 0, nil, err
	}
	kind, size, err := parseHead(f.buf)
	if err != nil {
		return 0, nil, err
	}
	if size > len(f.buf) {
		f.buf = make([]byte, max(size, frameMax))
	}
	if _, err := io.ReadFull(f.r, f.buf[:size]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return kind, f.buf[:size], nil
}

// parseOutput reads the body of an output frame.
func parseOutput(body []byte) (from uint64, b []byte) {
	return binary.LittleEndian.Uint64(body), body[outputHead:]
}

// appendGiven appends a frame that says how many bytes of a connection the guest was given, and the index in its ring then.
func appendGiven(dst []byte, n uint64, index uint32) []byte {
	dst = binary.LittleEndian.AppendUint64(appendHead(dst, kindGiven, givenSize), n)
	return binary.LittleEndian.AppendUint32(dst, index)
}

// parseGiven reads the body of such a frame.
func parseGiven(body []byte) (n uint64, index uint32) {
	return binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint32(body[8:])
}
