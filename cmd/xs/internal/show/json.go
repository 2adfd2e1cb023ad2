package show

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"morgana/xenstore"
)

// Value is a value in JSON: as text if it is text (UTF-8), else its bytes in base64.
type Value struct {
	Value *string `json:"value,omitempty"`
	Bytes []byte  `json:"bytes,omitempty"`
}

// ValueOf makes one.
func ValueOf(v string) Value {
	if utf8.ValidString(v) {
		return Value{Value: &v}
	}
	return Value{Bytes: []byte(v)}
}

// Node is a node in JSON, with all below it.
type Node struct {
	Path string `json:"path"`
	Value
	Perms    []string `json:"perms,omitempty"`
	Children []*Node  `json:"children,omitempty"`
}

// Nodes reads a node and everything below it. What goes away meanwhile is left out.
func Nodes(ctx context.Context, t *xenstore.Tree, path string, perms bool) (*Node, error) {
	v, err := t.Read(ctx, path)
	if err != nil {
		return nil, err
	}
	n := &Node{Path: path, Value: ValueOf(v)}
	if perms {
		p, err := t.GetPerms(ctx, path)
		if err != nil {
			return nil, err
		}
		n.Perms = strings.Split(permissions(p), ",")
	}
	names, err := t.List(ctx, path)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		child, err := Nodes(ctx, t, xenstore.Join(path, name), perms)
		switch {
		case errors.Is(err, xenstore.ErrNotExist):
		case err != nil:
			return nil, err
		default:
			n.Children = append(n.Children, child)
		}
	}
	return n, nil
}
