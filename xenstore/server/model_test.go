package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// modelNode is a node of the model: nothing shared, nothing clever.
type modelNode struct {
	value string
	perms []xs.Perm
	made  int // order of creation
}

// modelTree is the tree as a map of paths.
type modelTree map[string]modelNode

func (t modelTree) copy() modelTree { return maps.Clone(t) }

func up(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func (t modelTree) children(path string) []string {
	type kid struct {
		name string
		made int
	}
	var all []kid
	for p, n := range t {
		if p != "/" && up(p) == path {
			all = append(all, kid{p[strings.LastIndexByte(p, '/')+1:], n.made})
		}
	}
	slices.SortFunc(all, func(a, b kid) int { return a.made - b.made })
	names := make([]string, len(all))
	for i, k := range all {
		names[i] = k.name
	}
	return names
}

func may(d xen.DomID, perms []xs.Perm) (read, write bool) {
	if d == 0 || perms[0].Dom == d {
		return true, true
	}
	for _, p := range perms[1:] {
		if p.Dom == d {
			return p.Access.CanRead(), p.Access.CanWrite()
		}
	}
	return perms[0].Access.CanRead(), perms[0].Access.CanWrite()
}

// op is a request of the model test.
type op struct {
	kind  xs.Op
	path  string
	value string
	perms []xs.Perm
}

// do carries out a request as the protocol's text says, and answers as a script would.
func (t modelTree) do(d xen.DomID, o op, clock *int) string {
	n, exists := t[o.path]
	near := o.path
	for {
		if _, ok := t[near]; ok {
			break
		}
		near = up(near)
	}
	read, write := may(d, t[near].perms)
	need := write
	if o.kind == xs.Read || o.kind == xs.Directory || o.kind == xs.GetPerms {
		need = read
	}
	switch {
	case !need:
		return "EACCES"
	case !exists && o.kind == xs.Remove:
		if _, ok := t[up(o.path)]; ok {
			return "OK"
		}
		return "ENOENT"
	case !exists && o.kind != xs.Write && o.kind != xs.Mkdir:
		return "ENOENT"
	}
	switch o.kind {
	case xs.Read:
		return "=" + n.value
	case xs.Directory:
		return "=" + strings.Join(t.children(o.path), ",")
	case xs.GetPerms:
		return "=" + fmt.Sprint(n.perms)
	case xs.SetPerms:
		if d != 0 && (n.perms[0].Dom != d || o.perms[0].Dom != d) {
			if n.perms[0].Dom != d {
				// Without owning it, the right to write is not enough; and it must not learn more.
				return "EACCES"
			}
			return "EPERM"
		}
		n.perms = o.perms
		t[o.path] = n
	case xs.Remove:
		for p := range t {
			if p == o.path || strings.HasPrefix(p, o.path+"/") {
				delete(t, p)
			}
		}
	case xs.Write, xs.Mkdir:
		if exists {
			if o.kind == xs.Write {
				n.value = o.value
				t[o.path] = n
			}
			return "OK"
		}
		perms := t[near].perms
		if d != 0 {
			perms = slices.Clone(perms)
			perms[0].Dom = d
		}
		for p := o.path; p != near; p = up(p) {
			*clock++
			v := ""
			if p == o.path && o.kind == xs.Write {
				v = o.value
			}
			t[p] = modelNode{value: v, perms: perms, made: *clock}
		}
	}
	return "OK"
}

// ask makes a request of the core and answers as the model does.
func (m *machine) ask(t *rapid.T, c *Conn, tx uint32, o op) string {
	var b []byte
	switch o.kind {
	case xs.Write:
		b = xs.AppendWrite(nil, o.path, []byte(o.value))
	case xs.SetPerms:
		b = xs.AppendSetPerms(nil, o.path, o.perms)
	default:
		b = xs.AppendString(nil, o.path)
	}
	h, payload := m.roundTrip(t, c, xs.Header{Op: o.kind, Tx: tx}, b)
	s := string(payload)
	switch {
	case h.Op == xs.ErrorReply:
		return strings.TrimSuffix(s, "\x00")
	case o.kind == xs.Read:
		return "=" + s
	case o.kind == xs.Directory:
		return "=" + strings.ReplaceAll(strings.TrimSuffix(s, "\x00"), "\x00", ",")
	case o.kind == xs.GetPerms:
		p, err := xs.ParsePerms(payload)
		if err != nil {
			t.Fatal(err)
		}
		return "=" + fmt.Sprint(p)
	}
	return strings.TrimSuffix(s, "\x00")
}

// fataler is what *testing.T and *rapid.T have.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// roundTrip sends a request and takes its reply; events before it are dropped.
func (m *machine) roundTrip(t fataler, c *Conn, h xs.Header, payload []byte) (xs.Header, []byte) {
	t.Helper()
	msg := xs.AppendMessage(nil, h, payload)
	if n := m.Input(c, msg); n != len(msg) {
		t.Fatalf("%v: %d bytes of %d taken", h.Op, n, len(msg))
	}
	for {
		h, payload, _, err := xs.ParseMessage(c.Output())
		if err != nil {
			t.Fatalf("no reply: %v", err)
		}
		payload = slices.Clone(payload)
		m.Sent(c, xs.HeaderSize+len(payload))
		if h.Op != xs.WatchEvent {
			return h, payload
		}
	}
}

// openTxModel is a transaction as the model has it: its own copy of the tree, and what it did and saw.
type modelTx struct {
	id     uint32
	conn   int
	tree   modelTree
	ops    []op
	seen   []string
	writes bool
	since  int // the state of the store when it began
}

// Random requests of dom0 and two guests, in and out of transactions: replies are the model's; a commit that succeeds
// could have been made at once, and one that fails had a reason.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(t)
		doms := []xen.DomID{0, 1, 2}
		conns := make([]*Conn, len(doms))
		for i, d := range doms {
			m.host.states[d] = Running
			if d != 0 {
				if e := m.Introduce(d, 7); e != 0 {
					rt.Fatal(e)
				}
			}
			conns[i] = m.ConnOf(d)
		}
		clock := 0
		root := []xs.Perm{{Access: xs.AccessNone}}
		tree := modelTree{"/": {perms: root}, "/tool": {perms: root, made: -2}, "/tool/xenstored": {perms: root, made: -1}}
		var txs []*modelTx
		version := 0
		paths := []string{"/", "/a", "/a/b", "/a/b/c", "/a/x", "/a/y", "/d", "/d/e"}
		perm := rapid.Custom(func(t *rapid.T) xs.Perm {
			return xs.Perm{Access: xs.Access("nrwb"[rapid.IntRange(0, 3).Draw(t, "access")]), Dom: doms[rapid.IntRange(0, 2).Draw(t, "dom")]}
		})
		kinds := []xs.Op{xs.Read, xs.Directory, xs.GetPerms, xs.Write, xs.Write, xs.Mkdir, xs.Remove, xs.SetPerms}
		request := rapid.Custom(func(t *rapid.T) op {
			o := op{kind: rapid.SampledFrom(kinds).Draw(t, "op"), path: rapid.SampledFrom(paths).Draw(t, "path")}
			switch o.kind {
			case xs.Write:
				o.value = strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "value"))
			case xs.SetPerms:
				o.perms = rapid.SliceOfN(perm, 1, 3).Draw(t, "perms")
			case xs.Remove:
				if o.path == "/" {
					o.path = "/a"
				}
			}
			return o
		})
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			who := rapid.IntRange(0, 2).Draw(rt, "who")
			c := conns[who]
			var tx *modelTx
			for _, x := range txs {
				if x.conn == who && rapid.Bool().Draw(rt, "inside") {
					tx = x
				}
			}
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				if tx == nil && len(txs) < 5 {
					_, b := m.roundTrip(rt, c, xs.Header{Op: xs.TransactionStart}, []byte{0})
					id, err := xs.ParseTxID(b)
					if err != nil {
						rt.Fatal(err)
					}
					txs = append(txs, &modelTx{id: id, conn: who, tree: tree.copy(), since: version})
				}
				continue
			case 1, 2:
				if tx == nil {
					continue
				}
				txs = slices.DeleteFunc(txs, func(x *modelTx) bool { return x == tx })
				h, b := m.roundTrip(rt, c, xs.Header{Op: xs.TransactionEnd, Tx: tx.id}, []byte("T\x00"))
				again := tree.copy()
				same := true
				for i, o := range tx.ops {
					same = same && again.do(doms[who], o, &clock) == tx.seen[i]
				}
				switch {
				case h.Op != xs.ErrorReply && tx.writes:
					if !same {
						rt.Fatalf("committed, but it would have seen something else: %v saw %q", tx.ops, tx.seen)
					}
					tree = again
					version++
				case h.Op == xs.ErrorReply && string(b) != "EAGAIN\x00":
					rt.Fatalf("commit: %q", b)
				case h.Op == xs.ErrorReply && tx.since == version:
					rt.Fatalf("EAGAIN, but nobody else wrote")
				}
				continue
			}
			o := request.Draw(rt, "request")
			if tx != nil {
				got, want := m.ask(rt, c, tx.id, o), tx.tree.do(doms[who], o, &clock)
				if got != want {
					rt.Fatalf("dom%d, in transaction %d: %v: %q, want %q", doms[who], tx.id, o, got, want)
				}
				tx.ops, tx.seen = append(tx.ops, o), append(tx.seen, got)
				if want == "OK" {
					tx.writes = true
				}
				continue
			}
			before := fmt.Sprint(tree)
			got, want := m.ask(rt, c, 0, o), tree.do(doms[who], o, &clock)
			if got != want {
				rt.Fatalf("dom%d: %v: %q, want %q", doms[who], o, got, want)
			}
			if fmt.Sprint(tree) != before || o.kind == xs.Write && want == "OK" {
				version++
			}
		}
		// In the end, the tree is the model's.
		seen := 0
		for p, n := range m.Root().All("/") {
			seen++
			w, ok := tree[p]
			if !ok || w.value != n.Value() || string(n.Perms().Append(nil)) != string(xs.AppendPerms(nil, w.perms)) {
				rt.Fatalf("%s is %q %v, want %+v", p, n.Value(), n.Perms(), w)
			}
		}
		if seen != len(tree) {
			rt.Fatalf("%d nodes, want %d", seen, len(tree))
		}
		m.verify(rt)
	})
}
