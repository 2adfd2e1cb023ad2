package xenstore

import (
	"context"
	"strconv"
	"strings"

	"morgana/xen/wire/xs"
)

// Tree is the operations that exist in a transaction and outside of one: Client and Tx embed it, and a function
// that works in both takes a *Tree (&client.Tree or &tx.Tree). Safe for concurrent use.
type Tree struct {
	c    *Client
	tx   uint32
	link uint64 // of the transaction
}

func (t *Tree) do(ctx context.Context, op xs.Op, payload []byte) ([]byte, error) {
	r := t.ask(ctx, op, payload)
	return r.payload, r.err
}

func (t *Tree) ask(ctx context.Context, op xs.Op, payload []byte) result {
	return t.c.ask(ctx, &call{op: op, tx: t.tx, link: t.link, payload: payload})
}

// Read returns the value of a node. Values are bytes; a string holds them all.
func (t *Tree) Read(ctx context.Context, path string) (string, error) {
	b, err := t.path(ctx, xs.Read, path)
	return string(b), fail("read", path, err)
}

// ReadUint reads a node that holds a decimal number of at most the given bits. Anything else is ErrInvalid.
func (t *Tree) ReadUint(ctx context.Context, path string, bits int) (uint64, error) {
	s, err := t.Read(ctx, path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, fail("read", path, &valueError{s, bits})
	}
	return n, nil
}

type valueError struct {
	value string
	bits  int
}

func (e *valueError) Error() string {
	v := e.value
	if len(v) > 40 {
		v = v[:40] + "…"
	}
	return "value " + strconv.Quote(v) + " is no decimal number of " + strconv.Itoa(e.bits) + " bits"
}
func (e *valueError) Unwrap() error { return ErrInvalid }

// Write sets the value of a node and makes it, and the nodes above it, if it does not exist. Path and value
// together have at most 4095 bytes.
func (t *Tree) Write(ctx context.Context, path, value string) error {
	if err := xs.CheckPath(path); err != nil {
		return fail("write", path, err)
	}
	payload := xs.AppendWrite(make([]byte, 0, len(path)+1+len(value)), path, []byte(value))
	_, err := t.do(ctx, xs.Write, payload)
	return fail("write", path, err)
}

// List returns the names of a node's children. Directories of any size are read whole: where one reply does not
// hold them, part by part, from the start again if the directory changes meanwhile.
func (t *Tree) List(ctx context.Context, path string) ([]string, error) {
	b, err := t.path(ctx, xs.Directory, path)
	if err == xs.E2BIG {
		names, err := t.listParts(ctx, path)
		return names, fail("list", path, err)
	}
	if err != nil {
		return nil, fail("list", path, err)
	}
	names, err := xs.ParseStrings(b)
	if err != nil {
		return nil, fail("list", path, t.c.broken(err))
	}
	return names, nil
}

func (t *Tree) listParts(ctx context.Context, path string) ([]string, error) {
	var (
		names []string
		gen   string
		link  uint64
		off   int
	)
	for {
		r := t.ask(ctx, xs.DirectoryPart, xs.AppendDirectoryPart(nil, path, off))
		if r.err != nil {
			return nil, r.err
		}
		p, err := xs.ParsePart(r.payload)
		switch {
		case err != nil:
			return nil, t.c.broken(err)
		case off > 0 && (p.Generation != gen || r.link != link):
			names, off = names[:0], 0
			continue
		}
		gen, link = p.Generation, r.link
		names = append(names, p.Names...)
		off += p.Size
		if p.Last {
			return names, nil
		}
	}
}

// Exists reports whether a node exists and may be read.
func (t *Tree) Exists(ctx context.Context, path string) (bool, error) {
	_, err := t.path(ctx, xs.Read, path)
	if err == xs.ENOENT {
		return false, nil
	}
	return err == nil, fail("read", path, err)
}

// Mkdir makes a node with an empty value, and the nodes above it. A node that exists keeps its value.
func (t *Tree) Mkdir(ctx context.Context, path string) error {
	_, err := t.path(ctx, xs.Mkdir, path)
	return fail("mkdir", path, err)
}

// Remove removes a node with everything below it. A node that does not exist is no error if its parent does.
func (t *Tree) Remove(ctx context.Context, path string) error {
	_, err := t.path(ctx, xs.Remove, path)
	return fail("remove", path, err)
}

// GetPerms returns the permissions of a node; the first entry is the owner's.
func (t *Tree) GetPerms(ctx context.Context, path string) ([]xs.Perm, error) {
	b, err := t.path(ctx, xs.GetPerms, path)
	if err != nil {
		return nil, fail("get permissions of", path, err)
	}
	perms, err := xs.ParsePerms(b)
	if err != nil {
		return nil, fail("get permissions of", path, t.c.broken(err))
	}
	return perms, nil
}

// SetPerms sets the permissions of a node; at least one entry, the first is the owner's. Only dom0 may change the
// owner.
func (t *Tree) SetPerms(ctx context.Context, path string, perms ...xs.Perm) error {
	const op = "set permissions of"
	if err := xs.CheckPath(path); err != nil {
		return fail(op, path, err)
	}
	if len(perms) == 0 {
		return fail(op, path, ErrInvalid)
	}
	_, err := t.do(ctx, xs.SetPerms, xs.AppendSetPerms(nil, path, perms))
	return fail(op, path, err)
}

// path does a request whose payload is a path alone.
func (t *Tree) path(ctx context.Context, op xs.Op, path string) ([]byte, error) {
	if err := xs.CheckPath(path); err != nil {
		return nil, err
	}
	return t.do(ctx, op, xs.AppendString(make([]byte, 0, len(path)+1), path))
}

// Join joins components of a path with slashes.
func Join(elem ...string) string {
	var b strings.Builder
	for i, e := range elem {
		if i > 0 && !strings.HasSuffix(elem[i-1], "/") {
			b.WriteByte('/')
		}
		b.WriteString(e)
	}
	return b.String()
}
