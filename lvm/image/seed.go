package image

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

// A seed is what everything that is usually random is made from.
type seed [sha256.Size]byte

func newSeed(text string) seed { return sha256.Sum256([]byte("morgana image\x00" + text)) }

// stream is endless and looks random; each purpose has its own.
func (s seed) stream(purpose string) io.Reader {
	return &stream{key: sha256.Sum256(append(s[:], purpose...))}
}

type stream struct {
	key  [sha256.Size]byte
	n    uint64
	left []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if len(s.left) == 0 {
			b := sha256.Sum256(binary.BigEndian.AppendUint64(s.key[:], s.n))
			s.n++
			s.left = b[:]
		}
		k := copy(p[n:], s.left)
		n, s.left = n+k, s.left[k:]
	}
	return len(p), nil
}

// uuid is a random one in the sense of RFC 9562.
func (s seed) uuid(purpose string) (id [16]byte) {
	s.stream(purpose).Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func formatUUID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

func (s seed) uint32(purpose string) uint32 {
	var b [4]byte
	s.stream(purpose).Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}
