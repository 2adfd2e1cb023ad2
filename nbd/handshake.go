package nbd

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"morgana/nbd/wire"
)

// ClientOptions say what a client wants.
type ClientOptions struct {
	Export string      // "" is the server's default
	TLS    *tls.Config // if set, the server must be capable of TLS; ServerName or InsecureSkipVerify is needed
}

// A ReplyError is how a server refused an option.
type ReplyError struct {
	Option  wire.Option
	Reply   wire.ReplyType
	Message string // the server's words, "" if it had none
}

func (e *ReplyError) Error() string {
	if e.Message == "" {
		return e.Reply.String()
	}
	return fmt.Sprintf("%v: %q", e.Reply, e.Message)
}

// List asks the server at the other end of c for its exports, and closes c.
func List(ctx context.Context, c net.Conn, o ClientOptions) ([]ExportInfo, error) {
	h := &handshake{conn: c}
	defer func() { h.conn.Close() }()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := h.start(ctx, o); err != nil {
		return nil, fmt.Errorf("nbd: %w", err)
	}
	var list []ExportInfo
	err := h.ask(wire.OptList, nil, func(t wire.ReplyType, data []byte) error {
		if t != wire.RepServer {
			return nil
		}
		l, err := wire.ParseListed(data)
		list = append(list, ExportInfo{Name: l.Name, Description: l.Description})
		return err
	})
	for i := range list {
		if err == nil {
			list[i], err = h.choose(wire.OptInfo, list[i])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("nbd: %w", err)
	}
	h.conn.Write(wire.AppendOption(nil, wire.OptAbort, nil)) // a courtesy
	return list, nil
}

// A handshake is a client's connection before it has an export.
type handshake struct {
	conn net.Conn
	r    *bufio.Reader
}

// start says hello and changes to TLS if that is wanted.
func (h *handshake) start(ctx context.Context, o ClientOptions) error {
	h.r = bufio.NewReaderSize(h.conn, readBuffer)
	var b [wire.HelloSize]byte
	if _, err := io.ReadFull(h.r, b[:]); err != nil {
		return err
	}
	flags, err := wire.ParseHello(b[:])
	if err != nil {
		return err
	}
	if flags&wire.FixedNewstyle == 0 {
		return errors.New("the server speaks no fixed newstyle")
	}
	agreed := uint32(flags & (wire.FixedNewstyle | wire.NoZeroes))
	if _, err := h.conn.Write(binary.BigEndian.AppendUint32(nil, agreed)); err != nil {
		return err
	}
	if o.TLS == nil {
		return nil
	}
	if err := h.ask(wire.OptStartTLS, nil, nil); err != nil {
		return err
	}
	if h.r.Buffered() > 0 {
		return errors.New("the server went on before TLS was agreed")
	}
	c := tls.Client(h.conn, o.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	h.conn = c
	h.r.Reset(c)
	return nil
}

// open chooses an export.
func (h *handshake) open(ctx context.Context, o ClientOptions) (info ExportInfo, alloc bool, err error) {
	if err := h.start(ctx, o); err != nil {
		return info, false, err
	}
	var refused *ReplyError
	err = h.ask(wire.OptStructuredReply, nil, nil)
	if err == nil {
		q := wire.AppendContextQuery(nil, wire.ContextQuery{Name: o.Export, Queries: []string{wire.BaseAllocation}})
		err = h.ask(wire.OptSetMetaContext, q, func(t wire.ReplyType, _ []byte) error {
			alloc = alloc || t == wire.RepMetaContext
			return nil
		})
	}
	if err != nil && !errors.As(err, &refused) { // what is refused is done without
		return info, false, err
	}
	info, err = h.choose(wire.OptGo, ExportInfo{Name: o.Export})
	return info, alloc, err
}

// choose asks about an export, and enters transmission with OptGo.
func (h *handshake) choose(o wire.Option, info ExportInfo) (ExportInfo, error) {
	info.MinBlock, info.Size = 1, -1
	sel := wire.AppendSelection(nil, wire.Selection{Name: info.Name, Want: []wire.Info{wire.InfoDescription, wire.InfoBlockSize}})
	err := h.ask(o, sel, func(t wire.ReplyType, data []byte) error {
		if t != wire.RepInfo {
			return nil
		}
		i, err := wire.ParseInfo(data)
		if err != nil {
			return err
		}
		switch i.Kind {
		case wire.InfoExport:
			if info.Size, info.Flags = int64(i.Size), i.Flags; info.Size < 0 {
				return fmt.Errorf("an export of %d bytes", i.Size)
			}
		case wire.InfoDescription:
			info.Description = i.Text
		case wire.InfoBlockSize:
			info.MinBlock = int(i.Min)
		}
		return nil
	})
	if err == nil && info.Size < 0 {
		err = errors.New("the server did not tell the export's size")
	}
	return info, err
}

// maxReplies is how many parts a server's answer to an option may have.
const maxReplies = 100_000

// ask sends an option and takes the replies until the last: take gets those between. A refusal is a ReplyError.
func (h *handshake) ask(o wire.Option, data []byte, take func(wire.ReplyType, []byte) error) error {
	if _, err := h.conn.Write(wire.AppendOption(nil, o, data)); err != nil {
		return err
	}
	for range maxReplies {
		var b [wire.ReplyHeaderSize]byte
		if _, err := io.ReadFull(h.r, b[:]); err != nil {
			return unexpected(err)
		}
		to, t, length, err := wire.ParseReplyHeader(b[:])
		if err != nil {
			return err
		}
		if to != o || length > 2*maxOption {
			return fmt.Errorf("a reply of %d bytes to option %d, where %d was asked", length, to, o)
		}
		d := make([]byte, length)
		if _, err := io.ReadFull(h.r, d); err != nil {
			return unexpected(err)
		}
		switch {
		case t.IsError():
			return &ReplyError{o, t, string(d)}
		case t == wire.RepAck:
			return nil
		case take != nil:
			if err := take(t, d); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("the server's answer to option %d has no end", o)
}
