package look

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Node implements model.Source.
func (l *Looker) Node(ctx context.Context, path string) (*model.Node, error) {
	if len(path) > xs.AbsPathMax || xs.CheckPath(path) != nil || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q is no path of a node: %w", model.Clean(path, model.NameMax), xenstore.ErrInvalid)
	}
	n, names, err := l.node(ctx, path)
	if err != nil {
		return nil, err
	}
	if perms, err := l.Store.GetPerms(ctx, path); err == nil {
		var all []string
		for _, p := range perms {
			all = append(all, p.String())
		}
		n.Perms = strings.Join(all, " ")
	}
	for i, name := range names {
		if i == model.KidsMax {
			n.More = true
			break
		}
		k, _, err := l.node(ctx, xenstore.Join(path, name))
		if errors.Is(err, xenstore.ErrNotExist) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, err
		}
		n.Kids = append(n.Kids, k)
	}
	return &n, nil
}

// node reads one node and the names of its children.
func (l *Looker) node(ctx context.Context, path string) (n model.Node, names []string, err error) {
	value, err := l.Store.Read(ctx, path)
	if err != nil {
		return n, nil, err
	}
	names, err = l.Store.List(ctx, path)
	if err != nil {
		return n, nil, err
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	// The path is what a reader asks for next, so it stays as it is: xenstore allows nothing but letters, digits and -/_@ in it.
	return model.Node{Path: path, Name: name, Value: model.Clean(value, model.ValueMax), Children: len(names)}, names, nil
}

// visitsMax is how many nodes a search looks at.
const visitsMax = 20_000

// Find implements model.Source. It walks the tree breadth first, so what is near the root is found first.
func (l *Looker) Find(ctx context.Context, text string, limit int) (found []model.Node, more bool, err error) {
	text = strings.ToLower(text)
	todo := []string{"/"}
	for visits := 0; len(todo) > 0; visits++ {
		if visits == visitsMax {
			return found, true, nil
		}
		path := todo[0]
		todo = todo[1:]
		n, names, err := l.node(ctx, path)
		switch {
		case errors.Is(err, xenstore.ErrNotExist):
			continue
		case err != nil:
			return nil, false, err
		}
		if strings.Contains(strings.ToLower(n.Path), text) || strings.Contains(strings.ToLower(n.Value), text) {
			if len(found) == limit {
				return found, true, nil
			}
			found = append(found, n)
		}
		for _, name := range names {
			todo = append(todo, xenstore.Join(path, name))
		}
	}
	return found, false, nil
}
