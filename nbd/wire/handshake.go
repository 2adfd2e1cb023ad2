package wire

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// Magic numbers of the handshake.
const (
	MagicHello  uint64 = 0x4e42444d41474943 // "NBDMAGIC"
	MagicOption uint64 = 0x49484156454f5054 // "IHAVEOPT"
	MagicReply  uint64 = 0x3e889045565a9    // of an option's reply
)

// Handshake flags; the client answers with those that it agrees to, 32 bits wide.
const (
	FixedNewstyle uint16 = 1 << 0
	NoZeroes      uint16 = 1 << 1
)

// Sizes of what has a fixed one, in bytes.
const (
	HelloSize        = 18
	ClientFlagsSize  = 4
	OptionHeaderSize = 16
	ReplyHeaderSize  = 20
)

// MaxString is the longest string that the protocol allows, in bytes.
const MaxString = 4096

// AppendHello appends the server's first message.
func AppendHello(dst []byte, flags uint16) []byte {
	dst = binary.BigEndian.AppendUint64(dst, MagicHello)
	dst = binary.BigEndian.AppendUint64(dst, MagicOption)
	return binary.BigEndian.AppendUint16(dst, flags)
}

// ParseHello returns the server's handshake flags.
func ParseHello(b []byte) (flags uint16, err error) {
	if len(b) != HelloSize {
		return 0, fmt.Errorf("%w: hello of %d bytes", ErrLength, len(b))
	}
	if m := binary.BigEndian.Uint64(b); m != MagicHello {
		return 0, fmt.Errorf("%w: %#x in the server's first message: it is no NBD server", ErrMagic, m)
	}
	if m := binary.BigEndian.Uint64(b[8:]); m != MagicOption {
		return 0, fmt.Errorf("%w: %#x: an oldstyle server has no options", ErrMagic, m)
	}
	return binary.BigEndian.Uint16(b[16:]), nil
}

// An Option is the number of a request in the handshake.
type Option uint32

// The options.
const (
	OptExportName      Option = 1
	OptAbort           Option = 2
	OptList            Option = 3
	OptStartTLS        Option = 5
	OptInfo            Option = 6
	OptGo              Option = 7
	OptStructuredReply Option = 8
	OptListMetaContext Option = 9
	OptSetMetaContext  Option = 10
)

// AppendOption appends an option with its data.
func AppendOption(dst []byte, o Option, data []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, MagicOption)
	dst = binary.BigEndian.AppendUint32(dst, uint32(o))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(data)))
	return append(dst, data...)
}

// ParseOptionHeader parses what comes before an option's data.
func ParseOptionHeader(b []byte) (o Option, length uint32, err error) {
	if len(b) != OptionHeaderSize {
		return 0, 0, fmt.Errorf("%w: option header of %d bytes", ErrLength, len(b))
	}
	if m := binary.BigEndian.Uint64(b); m != MagicOption {
		return 0, 0, fmt.Errorf("%w: %#x instead of an option", ErrMagic, m)
	}
	return Option(binary.BigEndian.Uint32(b[8:])), binary.BigEndian.Uint32(b[12:]), nil
}

// A ReplyType says what an option's reply is. Those with the high bit set are errors.
type ReplyType uint32

// The replies to options.
const (
	RepAck         ReplyType = 1
	RepServer      ReplyType = 2
	RepInfo        ReplyType = 3
	RepMetaContext ReplyType = 4

	repError            ReplyType = 1 << 31
	RepErrUnsup                   = repError | 1
	RepErrPolicy                  = repError | 2
	RepErrInvalid                 = repError | 3
	RepErrPlatform                = repError | 4
	RepErrTLSReqd                 = repError | 5
	RepErrUnknown                 = repError | 6
	RepErrShutdown                = repError | 7
	RepErrBlockSizeReqd           = repError | 8
	RepErrTooBig                  = repError | 9
)

var replyText = map[ReplyType]string{
	RepErrUnsup: "the server does not know this option", RepErrPolicy: "the server's policy forbids it", RepErrInvalid: "invalid option",
	RepErrPlatform: "not supported on the server's platform", RepErrTLSReqd: "the server wants TLS", RepErrUnknown: "no such export",
	RepErrShutdown: "the server is shutting down", RepErrBlockSizeReqd: "the server wants a client that asks for block sizes",
	RepErrTooBig: "the option is too long for the server",
}

// IsError reports whether the option was refused.
func (t ReplyType) IsError() bool { return t&repError != 0 }

func (t ReplyType) String() string {
	if s, ok := replyText[t]; ok {
		return s
	}
	return fmt.Sprintf("option reply %#x", uint32(t))
}

// AppendReply appends a reply to an option with its data.
func AppendReply(dst []byte, o Option, t ReplyType, data []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, MagicReply)
	dst = binary.BigEndian.AppendUint32(dst, uint32(o))
	dst = binary.BigEndian.AppendUint32(dst, uint32(t))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(data)))
	return append(dst, data...)
}

// ParseReplyHeader parses what comes before an option reply's data.
func ParseReplyHeader(b []byte) (o Option, t ReplyType, length uint32, err error) {
	if len(b) != ReplyHeaderSize {
		return 0, 0, 0, fmt.Errorf("%w: option reply header of %d bytes", ErrLength, len(b))
	}
	if m := binary.BigEndian.Uint64(b); m != MagicReply {
		return 0, 0, 0, fmt.Errorf("%w: %#x instead of an option's reply", ErrMagic, m)
	}
	return Option(binary.BigEndian.Uint32(b[8:])), ReplyType(binary.BigEndian.Uint32(b[12:])), binary.BigEndian.Uint32(b[16:]), nil
}

// cutString takes a string with its length before it from b.
func cutString(b []byte) (s string, rest []byte, err error) {
	if len(b) < 4 {
		return "", nil, fmt.Errorf("%w: a string's length is cut off", ErrLength)
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	switch {
	case uint64(n) > uint64(len(b)):
		return "", nil, fmt.Errorf("%w: a string of %d bytes in %d", ErrLength, n, len(b))
	case n > MaxString:
		return "", nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrString, n, MaxString)
	case !utf8.Valid(b[:n]):
		return "", nil, fmt.Errorf("%w: %q is no UTF-8", ErrString, b[:n])
	}
	return string(b[:n]), b[n:], nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}
