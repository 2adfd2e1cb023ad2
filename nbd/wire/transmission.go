package wire

import (
	"encoding/binary"
	"fmt"
)

// Magic numbers of the transmission phase.
const (
	MagicRequest    uint32 = 0x25609513
	MagicSimple     uint32 = 0x67446698
	MagicStructured uint32 = 0x668e33ef
)

// Sizes in bytes.
const (
	RequestSize = 28
	SimpleSize  = 16
	ChunkSize   = 20 // header of a structured reply's chunk
)

// A Command is what a request wants.
type Command uint16

// The commands.
const (
	CmdRead        Command = 0
	CmdWrite       Command = 1
	CmdDisc        Command = 2
	CmdFlush       Command = 3
	CmdTrim        Command = 4
	CmdCache       Command = 5
	CmdWriteZeroes Command = 6
	CmdBlockStatus Command = 7
)

var commandText = [...]string{"READ", "WRITE", "DISC", "FLUSH", "TRIM", "CACHE", "WRITE_ZEROES", "BLOCK_STATUS"}

func (c Command) String() string {
	if int(c) < len(commandText) {
		return commandText[c]
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// CommandFlags change what a command does.
type CommandFlags uint16

// The flags of commands.
const (
	FlagFUA      CommandFlags = 1 << 0 // the data is on stable storage before the reply
	FlagNoHole   CommandFlags = 1 << 1 // WRITE_ZEROES: allocate
	FlagDF       CommandFlags = 1 << 2 // READ: reply in one chunk
	FlagReqOne   CommandFlags = 1 << 3 // BLOCK_STATUS: one descriptor
	FlagFastZero CommandFlags = 1 << 4 // WRITE_ZEROES: fail rather than be as slow as writing
)

// A Request is what a client asks for. The data of a write follows it.
type Request struct {
	Flags   CommandFlags
	Command Command
	Cookie  uint64
	Offset  uint64
	Length  uint32
}

// AppendRequest appends a request.
func AppendRequest(dst []byte, r Request) []byte {
	dst = binary.BigEndian.AppendUint32(dst, MagicRequest)
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Flags))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Command))
	dst = binary.BigEndian.AppendUint64(dst, r.Cookie)
	dst = binary.BigEndian.AppendUint64(dst, r.Offset)
	return binary.BigEndian.AppendUint32(dst, r.Length)
}

// ParseRequest parses a request.
func ParseRequest(b []byte) (Request, error) {
	if len(b) != RequestSize {
		return Request{}, fmt.Errorf("%w: request of %d bytes", ErrLength, len(b))
	}
	if m := binary.BigEndian.Uint32(b); m != MagicRequest {
		return Request{}, fmt.Errorf("%w: %#x instead of a request", ErrMagic, m)
	}
	return Request{
		Flags: CommandFlags(binary.BigEndian.Uint16(b[4:])), Command: Command(binary.BigEndian.Uint16(b[6:])),
		Cookie: binary.BigEndian.Uint64(b[8:]), Offset: binary.BigEndian.Uint64(b[16:]), Length: binary.BigEndian.Uint32(b[24:]),
	}, nil
}

// A Simple is a simple reply. The data of a read that succeeded follows it.
type Simple struct {
	Err    Errno
	Cookie uint64
}

// AppendSimple appends a simple reply.
func AppendSimple(dst []byte, s Simple) []byte {
	dst = binary.BigEndian.AppendUint32(dst, MagicSimple)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Err))
	return binary.BigEndian.AppendUint64(dst, s.Cookie)
}

// ParseSimple parses a simple reply.
func ParseSimple(b []byte) (Simple, error) {
	if len(b) != SimpleSize {
		return Simple{}, fmt.Errorf("%w: simple reply of %d bytes", ErrLength, len(b))
	}
	if m := binary.BigEndian.Uint32(b); m != MagicSimple {
		return Simple{}, fmt.Errorf("%w: %#x instead of a simple reply", ErrMagic, m)
	}
	return Simple{Errno(binary.BigEndian.Uint32(b[4:])), binary.BigEndian.Uint64(b[8:])}, nil
}

// A ChunkType says what a chunk of a structured reply holds. Those with the high bit set are errors.
type ChunkType uint16

// The types of chunks.
const (
	ChunkNone        ChunkType = 0
	ChunkOffsetData  ChunkType = 1 // u64 offset, data
	ChunkOffsetHole  ChunkType = 2 // u64 offset, u32 length
	ChunkBlockStatus ChunkType = 5 // u32 context, descriptors
	ChunkError       ChunkType = 1<<15 | 1
	ChunkErrorOffset ChunkType = 1<<15 | 2
)

// IsError reports whether the chunk tells of an error.
func (t ChunkType) IsError() bool { return t&(1<<15) != 0 }

// ChunkDone marks the last chunk of a reply.
const ChunkDone uint16 = 1

// A Chunk is the header of a part of a structured reply.
type Chunk struct {
	Flags  uint16
	Type   ChunkType
	Cookie uint64
	Length uint32 // of what follows
}

// AppendChunk appends a chunk's header.
func AppendChunk(dst []byte, c Chunk) []byte {
	dst = binary.BigEndian.AppendUint32(dst, MagicStructured)
	dst = binary.BigEndian.AppendUint16(dst, c.Flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(c.Type))
	dst = binary.BigEndian.AppendUint64(dst, c.Cookie)
	return binary.BigEndian.AppendUint32(dst, c.Length)
}

// ParseChunk parses a chunk's header.
func ParseChunk(b []byte) (Chunk, error) {
	if len(b) != ChunkSize {
		return Chunk{}, fmt.Errorf("%w: chunk header of %d bytes", ErrLength, len(b))
	}
	if m := binary.BigEndian.Uint32(b); m != MagicStructured {
		return Chunk{}, fmt.Errorf("%w: %#x instead of a structured reply", ErrMagic, m)
	}
	return Chunk{
		Flags: binary.BigEndian.Uint16(b[4:]), Type: ChunkType(binary.BigEndian.Uint16(b[6:])),
		Cookie: binary.BigEndian.Uint64(b[8:]), Length: binary.BigEndian.Uint32(b[16:]),
	}, nil
}

// AppendError appends the content of a ChunkError.
func AppendError(dst []byte, e Errno, message string) []byte {
	message = message[:min(len(message), MaxString)]
	dst = binary.BigEndian.AppendUint32(dst, uint32(e))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(message)))
	return append(dst, message...)
}

// ParseError parses the content of a ChunkError, and of a ChunkErrorOffset but for its offset.
func ParseError(b []byte) (e Errno, message string, err error) {
	if len(b) < 6 || len(b) < 6+int(binary.BigEndian.Uint16(b[4:])) {
		return 0, "", fmt.Errorf("%w: an error of %d bytes", ErrLength, len(b))
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	return Errno(binary.BigEndian.Uint32(b)), string(b[6 : 6+n]), nil
}

// State tells of an extent in base:allocation.
type State uint32

// The bits of a State.
const (
	StateHole State = 1 << 0 // not allocated
	StateZero State = 1 << 1 // reads as zeros
)

// An Extent is a range of an export whose bytes are alike; where it is follows from those before it.
type Extent struct {
	Length uint32
	State  State
}

// ExtentSize is an extent's in a block status, in bytes.
const ExtentSize = 8

// AppendExtent appends a descriptor of a block status.
func AppendExtent(dst []byte, e Extent) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, e.Length), uint32(e.State))
}

// ParseBlockStatus parses the content of a ChunkBlockStatus.
func ParseBlockStatus(b []byte) (context uint32, extents []Extent, err error) {
	if len(b) < 4+ExtentSize || (len(b)-4)%ExtentSize != 0 {
		return 0, nil, fmt.Errorf("%w: a block status of %d bytes", ErrLength, len(b))
	}
	context = binary.BigEndian.Uint32(b)
	for b = b[4:]; len(b) > 0; b = b[ExtentSize:] {
		e := Extent{binary.BigEndian.Uint32(b), State(binary.BigEndian.Uint32(b[4:]))}
		if e.Length == 0 {
			return 0, nil, fmt.Errorf("%w: an extent of 0 bytes", ErrLength)
		}
		extents = append(extents, e)
	}
	return context, extents, nil
}
