// Package show writes values and trees of xenstore as people read them.
package show

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Escape writes a value as the xenstore tools do: printable as it is, the rest as \t, \n, \r, \\, \001 or \x1f.
func Escape(v string) string {
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c >= ' ' && c <= '~' && c != '\\':
			b.WriteByte(c)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\\':
			b.WriteString(`\\`)
		case c < 8:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// Unescape is the other direction, for values on a command line. A backslash before anything else is left out.
func Unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		base, most, from := 0, 0, i
		switch c := s[i]; {
		case c == 't':
			b.WriteByte('\t')
		case c == 'n':
			b.WriteByte('\n')
		case c == 'r':
			b.WriteByte('\r')
		case c == 'x':
			base, most, from = 16, 2, i+1
		case c >= '0' && c <= '7':
			base, most = 8, 3
		default:
			b.WriteByte(c)
		}
		if base == 0 {
			continue
		}
		end := from
		for end < len(s) && end < from+most {
			if _, err := strconv.ParseUint(s[end:end+1], base, 8); err != nil {
				break
			}
			end++
		}
		n, err := strconv.ParseUint(s[from:end], base, 16)
		if err != nil { // \x without digits
			b.WriteByte('x')
			continue
		}
		b.WriteByte(byte(n))
		i = end - 1
	}
	return b.String()
}

// Lister writes what is below a path, in one of three ways.
type Lister struct {
	Out    io.Writer
	Store  *xenstore.Tree
	Flat   bool // whole paths, whole values
	Perms  bool
	Width  int  // of the screen
	Branch bool // branches of a tree
	Colour bool
}

const (
	tagLen   = len(` = "..."`)
	permsCol = 60 // where permissions begin, if there is room
)

// List writes everything below a path.
func (l *Lister) List(ctx context.Context, path string) error { return l.list(ctx, path, 0, "") }

func (l *Lister) list(ctx context.Context, path string, depth int, indent string) error {
	names, err := l.Store.List(ctx, path)
	if err != nil {
		if depth > 0 && errors.Is(err, xenstore.ErrNotExist) {
			return nil // it went meanwhile
		}
		return err
	}
	for i, name := range names {
		at := strings.TrimSuffix(path, "/") + "/" + name
		below := indent
		if l.Branch {
			fork, next := "├─ ", "│  "
			if i == len(names)-1 {
				fork, next = "└─ ", "   "
			}
			fmt.Fprint(l.Out, indent, fork, l.paint("1;34", name))
			below += next
			err = l.leaf(ctx, at)
		} else {
			err = l.line(ctx, at, name, depth)
		}
		if err != nil {
			return err
		}
		if err := l.list(ctx, at, depth+1, below); err != nil {
			return err
		}
	}
	return nil
}

// leaf writes what a node of a coloured tree holds.
func (l *Lister) leaf(ctx context.Context, path string) error {
	if v, err := l.Store.Read(ctx, path); err != nil {
		fmt.Fprint(l.Out, " ", l.paint("31", err.Error()))
	} else if v != "" {
		fmt.Fprint(l.Out, l.paint("2", " = "), l.paint("32", Escape(v)))
	}
	if l.Perms {
		if p, err := l.Store.GetPerms(ctx, path); err == nil {
			fmt.Fprint(l.Out, l.paint("33", "  ("+permissions(p)+")"))
		}
	}
	_, err := fmt.Fprintln(l.Out)
	return err
}

func (l *Lister) paint(code, s string) string {
	if !l.Colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func permissions(p []xs.Perm) string {
	words := make([]string, len(p))
	for i := range p {
		words[i] = p[i].String()
	}
	return strings.Join(words, ",")
}

// line writes a node as xenstore-ls does.
func (l *Lister) line(ctx context.Context, path, name string, depth int) error {
	width, wanted := l.Width, permsCol
	if l.Flat {
		width, wanted = 1<<30, 0
	}
	var b strings.Builder
	at := 0
	if l.Flat {
		b.WriteString(path)
	} else {
		b.WriteString(strings.Repeat(" ", depth))
		if most := max(width-tagLen-depth, 0); len(name) > most {
			name = name[:most]
		}
		b.WriteString(name)
		at = depth + len(name)
	}
	switch v, err := l.Store.Read(ctx, path); {
	case err != nil:
		b.WriteString(":\n")
	case width < at+len(v)+tagLen:
		e := Escape(v)
		fmt.Fprintf(&b, ` = "%s\..."`, e[:min(max(width-tagLen-at, 0), len(e))])
	default:
		e := Escape(v)
		fmt.Fprintf(&b, ` = "%s"`, e)
		if at += len(e) + 5; l.Perms {
			b.WriteByte(' ')
			for at++; at < min(wanted, width); at++ {
				b.WriteByte(" ."[at&1])
			}
		}
	}
	if l.Perms {
		p, err := l.Store.GetPerms(ctx, path)
		if err != nil {
			return err
		}
		b.WriteString("  (" + permissions(p) + ")")
	}
	b.WriteByte('\n')
	_, err := io.WriteString(l.Out, b.String())
	return err
}
