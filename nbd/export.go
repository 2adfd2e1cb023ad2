package nbd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"morgana/block"
	"morgana/nbd/wire"
)

// An Export is a device with the name that clients ask for. The empty name is the one that clients get who name none;
// a server with one export gives them that.
type Export struct {
	Name        string
	Description string // for people; "" if there is none
	Device      block.Device
	ReadOnly    bool
}

// Config says what a server offers and to whom.
type Config struct {
	Exports []Export
	// TLS, if set, is demanded of every client: there is no fall-back that an attacker could force. Its ClientAuth says
	// whether clients need a certificate.
	TLS *tls.Config
	// HandshakeTimeout ends connections that have not chosen an export by then; 15 s by default.
	HandshakeTimeout time.Duration
	// MaxConnections at a time; 256 by default. Others wait in the listener.
	MaxConnections int
	// Depth is how many requests of a connection are worked on at a time; 16 by default.
	Depth int
	// Log gets a line for each connection that ends by an error; none by default.
	Log *slog.Logger
}

const (
	// maxPayload is the longest read or write. 32 MiB is what clients assume when nobody tells (doc/proto.md).
	maxPayload = 32 << 20
	// maxBuffer is the most that a worker keeps for itself; a longer read or write goes through it piece by piece. So a
	// connection takes at most Depth MiB, and only as long as its client is in need of it.
	maxBuffer = 1 << 20
	// preferredBlock is what we tell clients to align to: a page, so that the page cache below reads nothing to write.
	preferredBlock = 4096
)

func (c *Config) fill() error {
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = 15 * time.Second
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 256
	}
	if c.Depth == 0 {
		c.Depth = 16
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.Exports) == 0 {
		return errors.New("nbd: a server needs an export")
	}
	seen := map[string]bool{}
	for _, e := range c.Exports {
		switch {
		case e.Device == nil:
			return fmt.Errorf("nbd: export %q has no device", e.Name)
		case seen[e.Name]:
			return fmt.Errorf("nbd: two exports are called %q", e.Name)
		case len(e.Name) > wire.MaxString || len(e.Description) > wire.MaxString || !utf8.ValidString(e.Name+e.Description):
			return fmt.Errorf("nbd: export %.40q: names and descriptions are UTF-8 of at most %d bytes", e.Name, wire.MaxString)
		}
		seen[e.Name] = true
	}
	return nil
}

// An export is an Export with what its device can do.
type export struct {
	Export
	size    uint64
	discard block.Discarder
	zero    block.Zeroer
	sparse  block.Sparse
}

func newExport(e Export) *export {
	x := &export{Export: e, size: uint64(e.Device.Size())}
	x.discard, _ = e.Device.(block.Discarder)
	x.zero, _ = e.Device.(block.Zeroer)
	x.sparse, _ = e.Device.(block.Sparse)
	return x
}

// flags tell clients what they may send. Without DF a read may come in several chunks; ours never does.
func (e *export) flags(structured bool) wire.Flags {
	f := wire.HasFlags | wire.SendFlush | wire.CanMultiConn | wire.SendCache
	if structured {
		f |= wire.SendDF
	}
	if e.ReadOnly {
		return f | wire.ReadOnly
	}
	f |= wire.SendFUA | wire.SendWriteZeroes | wire.SendFastZero
	if e.discard != nil {
		f |= wire.SendTrim
	}
	return f
}
