package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Worked out by hand from the tables of the specification.
func TestGolden(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name string
		hex  string
		got  []byte
	}{
		{"hello", "4e42444d41474943 49484156454f5054 0003", AppendHello(nil, FixedNewstyle|NoZeroes)},
		{"structured reply", "49484156454f5054 00000008 00000000", AppendOption(nil, OptStructuredReply, nil)},
		{
			"set meta context", "49484156454f5054 0000000a 00000020 00000005 76672f6c76 00000001 0000000f 626173653a616c6c6f636174696f6e",
			AppendOption(nil, OptSetMetaContext, AppendContextQuery(nil, ContextQuery{"vg/lv", []string{BaseAllocation}})),
		},
		{
			"go's selection", "00000005 76672f6c76 0001 0003",
			AppendSelection(nil, Selection{"vg/lv", []Info{InfoBlockSize}}),
		},
		{"ack", "0003e889045565a9 00000008 00000001 00000000", AppendReply(nil, OptStructuredReply, RepAck, nil)},
		{"export", "0000 0000000000100000 004d", AppendInfo(nil, ExportInfo{Kind: InfoExport, Size: 1 << 20, Flags: HasFlags | SendFlush | SendFUA | SendWriteZeroes})},
		{"request", "25609513 0001 0001 0000000000000007 0000000000001000 00000200", AppendRequest(nil, Request{FlagFUA, CmdWrite, 7, 4096, 512})},
		{"simple", "67446698 00000016 0000000000000007", AppendSimple(nil, Simple{EINVAL, 7})},
		{"chunk", "668e33ef 0001 0001 0000000000000007 00000208", AppendChunk(nil, Chunk{ChunkDone, ChunkOffsetData, 7, 520})},
	} {
		if want := unhex(c.hex); !bytes.Equal(c.got, want) {
			t.Errorf("%s: %x, want %x", c.name, c.got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), MaxString+1))
	for _, c := range []struct {
		name  string
		parse func() error
		want  error
	}{
		{"HTTP", func() error { _, err := ParseHello([]byte("HTTP/1.1 400 Bad R")); return err }, ErrMagic},
		{"short hello", func() error { _, err := ParseHello(nil); return err }, ErrLength},
		{"option", func() error { _, _, err := ParseOptionHeader(make([]byte, 16)); return err }, ErrMagic},
		{"name too long", func() error { _, err := ParseSelection(AppendSelection(nil, Selection{Name: long})); return err }, ErrString},
		{"no UTF-8", func() error { _, err := ParseSelection(AppendSelection(nil, Selection{Name: "\xff"})); return err }, ErrString},
		{"name cut off", func() error { _, err := ParseSelection([]byte{0, 0, 0, 9, 'x', 0, 0}); return err }, ErrLength},
		{"requests cut off", func() error { _, err := ParseSelection([]byte{0, 0, 0, 0, 0, 2, 0, 3}); return err }, ErrLength},
		{"four thousand million queries", func() error {
			_, err := ParseContextQuery([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
			return err
		}, ErrLength},
		{"request", func() error { _, err := ParseRequest(make([]byte, RequestSize)); return err }, ErrMagic},
		{"extent of nothing", func() error { _, _, err := ParseBlockStatus(make([]byte, 12)); return err }, ErrLength},
		{"error's message cut off", func() error { _, _, err := ParseError([]byte{0, 0, 0, 5, 0, 1}); return err }, ErrLength},
	} {
		if err := c.parse(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// Whatever parses is what its inverse makes of it.
func FuzzParse(f *testing.F) {
	f.Add(byte(0), AppendSelection(nil, Selection{"vg/lv", []Info{InfoName, InfoBlockSize}}))
	f.Add(byte(1), AppendContextQuery(nil, ContextQuery{"", []string{BaseAllocation, "qemu:"}}))
	f.Add(byte(2), AppendInfo(nil, ExportInfo{Kind: InfoBlockSize, Min: 1, Pref: 4096, MaxTransfer: 1 << 25}))
	f.Add(byte(3), AppendListed(nil, Listed{"a", "b"}))
	f.Add(byte(4), AppendContext(nil, Context{1, BaseAllocation}))
	f.Add(byte(5), AppendRequest(nil, Request{Command: CmdRead, Length: 512}))
	f.Add(byte(6), AppendSimple(nil, Simple{Cookie: 1}))
	f.Add(byte(7), AppendChunk(nil, Chunk{ChunkDone, ChunkError, 1, 6}))
	f.Add(byte(8), AppendError(nil, EIO, "disk on fire"))
	f.Add(byte(9), AppendExtent([]byte{0, 0, 0, 1}, Extent{4096, StateHole}))
	f.Add(byte(10), AppendHello(nil, FixedNewstyle))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		var back []byte
		var err error
		switch kind % 11 {
		case 0:
			var v Selection
			v, err = ParseSelection(b)
			back = AppendSelection(nil, v)
		case 1:
			var v ContextQuery
			v, err = ParseContextQuery(b)
			back = AppendContextQuery(nil, v)
		case 2:
			var v ExportInfo
			if v, err = ParseInfo(b); v.Kind > InfoBlockSize {
				return
			}
			back = AppendInfo(nil, v)
		case 3:
			var v Listed
			v, err = ParseListed(b)
			back = AppendListed(nil, v)
		case 4:
			var v Context
			v, err = ParseContext(b)
			back = AppendContext(nil, v)
		case 5:
			var v Request
			v, err = ParseRequest(b)
			back = AppendRequest(nil, v)
		case 6:
			var v Simple
			v, err = ParseSimple(b)
			back = AppendSimple(nil, v)
		case 7:
			var v Chunk
			v, err = ParseChunk(b)
			back = AppendChunk(nil, v)
		case 8:
			e, m, err := ParseError(b)
			if err == nil && len(m) <= MaxString && !bytes.HasPrefix(b, AppendError(nil, e, m)) {
				t.Errorf("%x: %v %q", b, e, m)
			}
			return
		case 9:
			var id uint32
			var es []Extent
			id, es, err = ParseBlockStatus(b)
			back = AppendContext(nil, Context{ID: id})
			for _, e := range es {
				back = AppendExtent(back, e)
			}
		case 10:
			var flags uint16
			flags, err = ParseHello(b)
			back = AppendHello(nil, flags)
		}
		if err == nil && !bytes.Equal(back, b) {
			t.Errorf("kind %d: %s", kind, cmp.Diff(b, back))
		}
	})
}
