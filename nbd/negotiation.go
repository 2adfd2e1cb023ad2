package nbd

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"

	"morgana/nbd/wire"
)

const (
	// maxOption is the most data that an option of ours can sensibly have; longer ones are skipped and refused.
	maxOption = 2*wire.MaxString + 1024
	// maxSkip is how much refused data is read before the connection is closed instead.
	maxSkip = 1 << 20
	// maxOptions is how many options a client may send. libnbd and qemu send less than ten.
	maxOptions = 1000
	// readBuffer holds several requests, or a small write with its data.
	readBuffer = 64 << 10
)

// A negotiation is a connection before its client has chosen an export.
type negotiation struct {
	server     *Server
	conn       net.Conn
	r          *bufio.Reader
	out        []byte // a reply in the making
	zeroes     bool   // the old way of telling an export's size ends in 124 of them
	encrypted  bool
	structured bool
	allocation *export // base:allocation was chosen for this export
}

// run talks until the client has chosen an export. No export and no error: the client has left.
func (n *negotiation) run(ctx context.Context) (*export, error) {
	n.r = bufio.NewReaderSize(n.conn, readBuffer)
	if _, err := n.conn.Write(wire.AppendHello(nil, wire.FixedNewstyle|wire.NoZeroes)); err != nil {
		return nil, err
	}
	var b [wire.ClientFlagsSize]byte
	if _, err := io.ReadFull(n.r, b[:]); err != nil {
		return nil, err
	}
	flags := binary.BigEndian.Uint32(b[:])
	if unknown := flags &^ uint32(wire.FixedNewstyle|wire.NoZeroes); unknown != 0 {
		return nil, fmt.Errorf("%w: unknown handshake flags %#x", ErrClient, unknown)
	}
	n.zeroes = flags&uint32(wire.NoZeroes) == 0
	for range maxOptions {
		e, done, err := n.option(ctx)
		if err != nil || done {
			return e, err
		}
	}
	return nil, fmt.Errorf("%w: more than %d options", ErrClient, maxOptions)
}

// option reads and answers one option.
func (n *negotiation) option(ctx context.Context) (e *export, done bool, err error) {
	var head [wire.OptionHeaderSize]byte
	if _, err := io.ReadFull(n.r, head[:]); err != nil {
		return nil, false, err
	}
	o, length, err := wire.ParseOptionHeader(head[:])
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrClient, err)
	}
	if length > maxOption {
		return nil, false, n.tooLong(o, length)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(n.r, data); err != nil {
		return nil, false, unexpected(err)
	}
	if n.server.config.TLS != nil && !n.encrypted && o != wire.OptStartTLS && o != wire.OptAbort {
		if o == wire.OptExportName {
			return nil, false, fmt.Errorf("%w: it wants no TLS, which this server demands", ErrClient)
		}
		return nil, false, n.refuse(o, wire.RepErrTLSReqd, "this server demands TLS")
	}
	switch o {
	case wire.OptExportName:
		e, err = n.exportName(data)
		return e, true, err
	case wire.OptAbort:
		n.reply(o, wire.RepAck, nil) // the client need not stay to read it
		return nil, true, nil
	case wire.OptList:
		return nil, false, n.list(data)
	case wire.OptStartTLS:
		return nil, false, n.startTLS(ctx, data)
	case wire.OptInfo, wire.OptGo:
		e, err = n.info(o, data)
		return e, e != nil && o == wire.OptGo, err
	case wire.OptStructuredReply:
		if len(data) > 0 {
			return nil, false, n.refuse(o, wire.RepErrInvalid, "this option has no data")
		}
		n.structured = true
		return nil, false, n.reply(o, wire.RepAck, nil)
	case wire.OptListMetaContext, wire.OptSetMetaContext:
		return nil, false, n.metaContext(o, data)
	}
	return nil, false, n.refuse(o, wire.RepErrUnsup, "unknown option")
}

func (n *negotiation) tooLong(o wire.Option, length uint32) error {
	if length > maxSkip {
		return fmt.Errorf("%w: an option of %d bytes", ErrClient, length)
	}
	if _, err := n.r.Discard(int(length)); err != nil {
		return unexpected(err)
	}
	if o == wire.OptExportName {
		return fmt.Errorf("%w: an export's name of %d bytes", ErrClient, length)
	}
	return n.refuse(o, wire.RepErrTooBig, fmt.Sprintf("options have at most %d bytes here", maxOption))
}

func (n *negotiation) reply(o wire.Option, t wire.ReplyType, data []byte) error {
	n.out = wire.AppendReply(n.out[:0], o, t, data)
	_, err := n.conn.Write(n.out)
	return err
}

func (n *negotiation) refuse(o wire.Option, t wire.ReplyType, why string) error {
	return n.reply(o, t, []byte(why))
}

// exportName is the way of choosing an export that knows no answer but hanging up.
func (n *negotiation) exportName(data []byte) (*export, error) {
	e := n.server.names[string(data)]
	if e == nil {
		return nil, fmt.Errorf("%w: it asks for export %.100q, which there is not", ErrClient, data)
	}
	out := binary.BigEndian.AppendUint64(nil, e.size)
	out = binary.BigEndian.AppendUint16(out, uint16(e.flags(n.structured)))
	if n.zeroes {
		out = append(out, make([]byte, 124)...)
	}
	_, err := n.conn.Write(out)
	return e, err
}

func (n *negotiation) list(data []byte) error {
	if len(data) > 0 {
		return n.refuse(wire.OptList, wire.RepErrInvalid, "this option has no data")
	}
	for _, e := range n.server.exports {
		if err := n.reply(wire.OptList, wire.RepServer, wire.AppendListed(nil, wire.Listed{Name: e.Name, Description: e.Description})); err != nil {
			return err
		}
	}
	return n.reply(wire.OptList, wire.RepAck, nil)
}

// info answers OptInfo and OptGo; no export says that it was refused.
func (n *negotiation) info(o wire.Option, data []byte) (*export, error) {
	sel, err := wire.ParseSelection(data)
	if err != nil {
		return nil, n.refuse(o, wire.RepErrInvalid, err.Error())
	}
	e := n.server.names[sel.Name]
	if e == nil {
		return nil, n.refuse(o, wire.RepErrUnknown, "no such export")
	}
	infos := []wire.ExportInfo{
		{Kind: wire.InfoExport, Size: e.size, Flags: e.flags(n.structured)},
		// Devices take any offset and length, so a client that does not ask loses nothing.
		{Kind: wire.InfoBlockSize, Min: 1, Pref: preferredBlock, MaxTransfer: maxPayload},
	}
	for _, w := range sel.Want {
		switch {
		case w == wire.InfoName:
			infos = append(infos, wire.ExportInfo{Kind: w, Text: e.Name})
		case w == wire.InfoDescription && e.Description != "":
			infos = append(infos, wire.ExportInfo{Kind: w, Text: e.Description})
		}
		if len(infos) > 8 { // the same again and again
			break
		}
	}
	for _, i := range infos {
		if err := n.reply(o, wire.RepInfo, wire.AppendInfo(nil, i)); err != nil {
			return nil, err
		}
	}
	if n.allocation != e && o == wire.OptGo {
		n.allocation = nil // chosen for another export
	}
	return e, n.reply(o, wire.RepAck, nil)
}

// startTLS changes to TLS and forgets what was said in the clear.
func (n *negotiation) startTLS(ctx context.Context, data []byte) error {
	switch {
	case len(data) > 0:
		return n.refuse(wire.OptStartTLS, wire.RepErrInvalid, "this option has no data")
	case n.server.config.TLS == nil:
		return n.refuse(wire.OptStartTLS, wire.RepErrPolicy, "this server has no certificate")
	case n.encrypted:
		return n.refuse(wire.OptStartTLS, wire.RepErrInvalid, "the connection is encrypted already")
	case n.r.Buffered() > 0:
		// Said in the clear and taken as said under TLS, it would be an attacker's.
		return fmt.Errorf("%w: it went on before TLS was agreed", ErrClient)
	}
	if err := n.reply(wire.OptStartTLS, wire.RepAck, nil); err != nil {
		return err
	}
	c := tls.Server(n.conn, n.server.config.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: TLS: %w", ErrClient, err)
	}
	n.conn, n.encrypted, n.structured, n.allocation = c, true, false, nil
	n.r.Reset(c)
	return nil
}

// allocationID is how block status replies call base:allocation.
const allocationID = 1

func (n *negotiation) metaContext(o wire.Option, data []byte) error {
	q, err := wire.ParseContextQuery(data)
	switch {
	case err != nil:
		return n.refuse(o, wire.RepErrInvalid, err.Error())
	case !n.structured:
		return n.refuse(o, wire.RepErrInvalid, "structured replies come first")
	}
	e := n.server.names[q.Name]
	if e == nil {
		return n.refuse(o, wire.RepErrUnknown, "no such export")
	}
	chosen := len(q.Queries) == 0 && o == wire.OptListMetaContext
	for _, s := range q.Queries {
		// A namespace with a colon alone asks what there is in it, but only when listing.
		chosen = chosen || s == wire.BaseAllocation || o == wire.OptListMetaContext && strings.TrimSuffix(s, ":") == "base"
	}
	if o == wire.OptSetMetaContext {
		n.allocation = nil
		if chosen {
			n.allocation = e
		}
	}
	if chosen {
		if err := n.reply(o, wire.RepMetaContext, wire.AppendContext(nil, wire.Context{ID: allocationID, Name: wire.BaseAllocation})); err != nil {
			return err
		}
	}
	return n.reply(o, wire.RepAck, nil)
}

// unexpected makes an end in the middle of something an error.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
