package xs

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type exchange struct {
	requests, replies [][]byte
}

// golden reads what a real daemon said.
func golden(tb testing.TB) map[string]*exchange {
	tb.Helper()
	text, err := os.ReadFile("testdata/xenstored-4.17.txt")
	if err != nil {
		tb.Fatal(err)
	}
	all := make(map[string]*exchange)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "#" {
			continue
		}
		b, err := hex.DecodeString(f[2])
		if err != nil {
			tb.Fatal(err)
		}
		if all[f[0]] == nil {
			all[f[0]] = &exchange{}
		}
		if f[1] == ">" {
			all[f[0]].requests = append(all[f[0]].requests, b)
		} else {
			all[f[0]].replies = append(all[f[0]].replies, b)
		}
	}
	return all
}

// Every request that a real daemon understood is made by our codec, byte for byte.
func TestRequestsAreThoseTheDaemonTook(t *testing.T) {
	perms := []Perm{{AccessNone, 0}, {AccessBoth, 5}, {AccessRead, 7}}
	want := golden(t)
	for name, c := range map[string]struct {
		op      Op
		tx      uint32
		payload []byte
	}{
		"write":              {op: Write, payload: AppendWrite(nil, "/g/a", []byte("val\x00ue"))},
		"read":               {op: Read, payload: AppendString(nil, "/g/a")},
		"set-perms":          {op: SetPerms, payload: AppendSetPerms(nil, "/g/a", perms)},
		"watch":              {op: Watch, payload: AppendWatch(nil, "/g", "tok")},
		"unwatch":            {op: Unwatch, payload: AppendWatch(nil, "/g", "tok")},
		"tx-start":           {op: TransactionStart, payload: []byte{0}},
		"tx-end-conflict":    {op: TransactionEnd, tx: txOf(t, want), payload: AppendTransactionEnd(nil, true)},
		"tx-end-unknown":     {op: TransactionEnd, tx: 99, payload: AppendTransactionEnd(nil, false)},
		"get-domain-path":    {op: GetDomainPath, payload: AppendDomID(nil, 5)},
		"introduce-unknown":  {op: Introduce, payload: AppendIntroduce(nil, 77, 0, 1)},
		"set-target-unknown": {op: SetTarget, payload: AppendSetTarget(nil, 77, 78)},
		"control-check":      {op: Control, payload: AppendStrings(nil, "check")},
		"directory-part":     {op: DirectoryPart, payload: AppendDirectoryPart(nil, "/g", 0)},
	} {
		h, _, rest, err := ParseMessage(want[name].requests[0])
		if err != nil || len(rest) != 0 {
			t.Fatalf("%s: %v, %d bytes left", name, err, len(rest))
		}
		got := AppendMessage(nil, Header{Op: c.op, Req: h.Req, Tx: c.tx}, c.payload)
		if diff := cmp.Diff(want[name].requests[0], got); diff != "" {
			t.Errorf("%s (-daemon's +ours):\n%s", name, diff)
		}
	}
}

func txOf(t *testing.T, all map[string]*exchange) uint32 {
	_, p, _, _ := ParseMessage(all["tx-start"].replies[0])
	tx, err := ParseTxID(p)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// What a real daemon answers means what we read from it.
func TestRepliesOfTheDaemon(t *testing.T) {
	all := golden(t)
	payload := func(name string, op Op) []byte {
		t.Helper()
		for _, b := range all[name].replies {
			if h, p, _, err := ParseMessage(b); err != nil {
				t.Fatal(err)
			} else if h.Op == op {
				return p
			}
		}
		t.Fatalf("%s: no %v", name, op)
		return nil
	}
	for name, want := range map[string]Errno{
		"read-missing": ENOENT, "bad-perms": EINVAL, "watch-again": EEXIST, "unwatch-unknown": ENOENT,
		"tx-nested": EBUSY, "tx-end-conflict": EAGAIN, "tx-end-unknown": ENOENT, "directory-too-big": E2BIG,
		"rm-root": EINVAL, "bad-path": EINVAL, "no-nul": EINVAL, "op-23": ENOSYS,
	} {
		p := payload(name, ErrorReply)
		e, err := ParseError(p)
		if err != nil || e != want {
			t.Errorf("%s: %v, %v; want %v", name, e, err, want)
		}
		if !bytes.Equal(AppendError(nil, e), p) {
			t.Errorf("%s: error is appended as %q, the daemon sent %q", name, AppendError(nil, e), p)
		}
	}
	if got := payload("read", Read); string(got) != "val\x00ue" {
		t.Errorf("read: %q", got)
	}
	perms, err := ParsePerms(payload("get-perms-2", GetPerms))
	if diff := cmp.Diff([]Perm{{AccessNone, 0}, {AccessBoth, 5}, {AccessRead, 7}}, perms); diff != "" || err != nil {
		t.Errorf("permissions: %v\n%s", err, diff)
	}
	path, token, err := ParseWatch(payload("write-watched", WatchEvent))
	if path != "/g/b" || token != "tok" || err != nil {
		t.Errorf("event: %q %q %v", path, token, err)
	}
	names, err := ParseStrings(payload("directory", Directory))
	if diff := cmp.Diff([]string{"a"}, names); diff != "" || err != nil {
		t.Errorf("directory: %v\n%s", err, diff)
	}
	p, err := ParsePart(payload("directory-part-1", DirectoryPart))
	if err != nil || p.Last || len(p.Names) < 200 || p.Names[0] != "child-000000" {
		t.Errorf("first part of a large directory: %v, %v", p, err)
	}
	p, err = ParsePart(payload("directory-part", DirectoryPart))
	if err != nil || !p.Last || len(p.Names) != 3 {
		t.Errorf("only part of a small directory: %+v, %v", p, err)
	}
	if s, err := ParseString(payload("get-domain-path", GetDomainPath)); s != DomainPath(5) || err != nil {
		t.Errorf("domain path: %q, %v", s, err)
	}
}

func TestPaths(t *testing.T) {
	for p, ok := range map[string]bool{
		"/": true, "/a/b-c_d@1": true, "rel/x": true, "@releaseDomain": true, "": false, "//": false, "/a//b": false,
		"/a/": false, "/a b": false, "/a.b": false, "/é": false, "/" + strings.Repeat("x", AbsPathMax): false,
		strings.Repeat("x", RelPathMax): true, strings.Repeat("x", RelPathMax+1): false,
	} {
		if err := CheckPath(p); (err == nil) != ok {
			t.Errorf("CheckPath(%.30q) = %v, want valid: %v", p, err, ok)
		}
	}
	if !Covers("/", "/a") || !Covers("/a", "/a/b") || Covers("/a", "/ab") || Covers("/a/b", "/a") {
		t.Error("Covers is wrong about what lies below what")
	}
	if Parent("/a") != "/" || Parent("/a/b") != "/a" || Absolute("x", 3) != "/local/domain/3/x" {
		t.Error("Parent or Absolute is wrong")
	}
}

// Whatever comes, decoders neither panic nor lose anything: what they accept is appended again as it came.
func FuzzPayloads(f *testing.F) {
	for _, x := range golden(f) {
		for _, b := range append(x.requests, x.replies...) {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, p, rest, err := ParseMessage(b)
		if err != nil {
			return
		}
		if got := append(AppendMessage(nil, h, p), rest...); !bytes.Equal(got, b) {
			t.Fatalf("message %x came back as %x", b, got)
		}
		same := func(what string, got []byte, err error) {
			if err == nil && !bytes.Equal(got, p) {
				t.Errorf("%s: %q came back as %q", what, p, got)
			}
		}
		s, err := ParseString(p)
		same("string", AppendString(nil, s), err)
		ss, err := ParseStrings(p)
		same("strings", AppendStrings(nil, ss...), err)
		path, value, err := ParseWrite(p)
		same("write", AppendWrite(nil, path, value), err)
		path, token, err := ParseWatch(p)
		same("watch", AppendWatch(nil, path, token), err)
		commit, err := ParseTransactionEnd(p)
		same("transaction end", AppendTransactionEnd(nil, commit), err)
		part, err := ParsePart(p)
		same("part", AppendPart(nil, part), err)
		// Numbers may have leading zeros: what is appended means the same.
		if d, err := ParseDomID(p); err == nil {
			if e, err := ParseDomID(AppendDomID(nil, d)); e != d || err != nil {
				t.Errorf("domain %d came back as %d, %v", d, e, err)
			}
		}
		if perms, err := ParsePerms(p); err == nil {
			if again, err := ParsePerms(AppendPerms(nil, perms)); err != nil || !cmp.Equal(again, perms) {
				t.Errorf("permissions %v came back as %v, %v", perms, again, err)
			}
		}
		if d, g, port, err := ParseIntroduce(p); err == nil {
			d2, g2, port2, err := ParseIntroduce(AppendIntroduce(nil, d, g, port))
			if d != d2 || g != g2 || port != port2 || err != nil {
				t.Error("introduce does not come back")
			}
		}
		_, _, _ = ParseSetPerms(p)
		_, _, _ = ParseSetTarget(p)
		_, _, _ = ParseDirectoryPart(p)
		_, _ = ParseTxID(p)
		_, _ = ParseError(p)
		_ = CheckPath(string(p))
	})
}

func BenchmarkAppendMessage(b *testing.B) {
	buf := make([]byte, 0, 256)
	for b.Loop() {
		buf = AppendMessage(buf[:0], Header{Op: Read, Req: 1}, []byte("/local/domain/1/name\x00"))
	}
}
