package xs

import (
	"fmt"
	"strings"

	"morgana/xen"
)

// Special paths that only watches and permissions know.
const (
	IntroduceDomain = "@introduceDomain" // fires when a domain was introduced
	ReleaseDomain   = "@releaseDomain"   // fires when a domain shut down or is gone
)

// DomainPath is a domain's home: "/local/domain/5". Relative paths start there.
func DomainPath(d xen.DomID) string { return fmt.Sprintf("/local/domain/%d", d) }

// CheckPath says whether p is a path of a node: absolute, or relative to the client's home. Letters, digits and
// - / _ @ are allowed (so special paths pass: what takes them is the caller's matter), no empty component, no slash at the end but for the root.
func CheckPath(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("xenstore path: empty: %w", EINVAL)
	case p == "/":
		return nil
	case p[0] == '/' && len(p) > AbsPathMax:
		return fmt.Errorf("xenstore path %.20q…: %d bytes, at most %d allowed: %w", p, len(p), AbsPathMax, EINVAL)
	case p[0] != '/' && len(p) > RelPathMax:
		return fmt.Errorf("xenstore path %.20q…: %d bytes, at most %d allowed: %w", p, len(p), RelPathMax, EINVAL)
	case p[len(p)-1] == '/':
		return fmt.Errorf("xenstore path %q: ends in a slash: %w", p, EINVAL)
	}
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '/' && i > 0 && p[i-1] == '/' {
			return fmt.Errorf("xenstore path %q: empty component: %w", p, EINVAL)
		}
		if !pathByte(c) {
			return fmt.Errorf("xenstore path %q: byte %q is not allowed (letters, digits, - / _ @ are): %w", p, c, EINVAL)
		}
	}
	return nil
}

// Special reports whether p is a special path, which is not a node and not relative to anything.
func Special(p string) bool { return strings.HasPrefix(p, "@") }

func pathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '/' || c == '_' || c == '@'
}

// Absolute makes p absolute for a client whose home is domain d's; special paths stay.
func Absolute(p string, d xen.DomID) string {
	if p == "" || p[0] == '/' || p[0] == '@' {
		return p
	}
	return DomainPath(d) + "/" + p
}

// Parent is the path above p: "/a" for "/a/b", "/" for "/a" and for "/".
func Parent(p string) string {
	i := strings.LastIndexByte(p, '/')
	if i <= 0 {
		return "/"
	}
	return p[:i]
}

// Base is the last component of p.
func Base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// Covers reports whether a change at path p concerns a watch at w: p is w or lies below it.
func Covers(w, p string) bool {
	if w == "/" {
		return strings.HasPrefix(p, "/")
	}
	return strings.HasPrefix(p, w) && (len(p) == len(w) || p[len(w)] == '/')
}
