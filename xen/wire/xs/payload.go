package xs

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"morgana/xen"
)

func malformed(op Op, what string) error { return fmt.Errorf("xenstore %v: %s: %w", op, what, EINVAL) }

// AppendString appends s and a NUL: the payload of every request with one argument.
func AppendString(dst []byte, s string) []byte { return append(append(dst, s...), 0) }

// ParseString decodes exactly one string with its NUL.
func ParseString(b []byte) (string, error) {
	if i := bytes.IndexByte(b, 0); i < 0 || i != len(b)-1 {
		return "", fmt.Errorf("xenstore payload: want one string that ends in NUL: %w", EINVAL)
	}
	return string(b[:len(b)-1]), nil
}

// AppendStrings appends each string with a NUL: names of children, arguments of CONTROL.
func AppendStrings(dst []byte, s ...string) []byte {
	for _, x := range s {
		dst = AppendString(dst, x)
	}
	return dst
}

// ParseStrings decodes any number of strings, each with its NUL.
func ParseStrings(b []byte) ([]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[len(b)-1] != 0 {
		return nil, fmt.Errorf("xenstore payload: last string lacks its NUL: %w", EINVAL)
	}
	return strings.Split(string(b[:len(b)-1]), "\x00"), nil
}

// AppendWrite appends a WRITE request: path, NUL, value.
func AppendWrite(dst []byte, path string, value []byte) []byte {
	return append(AppendString(dst, path), value...)
}

// ParseWrite decodes a WRITE request; the value may hold anything.
func ParseWrite(b []byte) (path string, value []byte, err error) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", nil, malformed(Write, "path lacks its NUL")
	}
	return string(b[:i]), b[i+1:], nil
}

// AppendSetPerms appends a SET_PERMS request.
func AppendSetPerms(dst []byte, path string, perms []Perm) []byte {
	return AppendPerms(AppendString(dst, path), perms)
}

// ParseSetPerms decodes a SET_PERMS request.
func ParseSetPerms(b []byte) (path string, perms []Perm, err error) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", nil, malformed(SetPerms, "path lacks its NUL")
	}
	perms, err = ParsePerms(b[i+1:])
	return string(b[:i]), perms, err
}

// AppendWatch appends path and token: a WATCH or UNWATCH request, or a WATCH_EVENT.
func AppendWatch(dst []byte, path, token string) []byte {
	return AppendString(AppendString(dst, path), token)
}

// ParseWatch decodes path and token, nothing after them.
func ParseWatch(b []byte) (path, token string, err error) {
	f, err := ParseStrings(b)
	if err != nil || len(f) != 2 {
		return "", "", malformed(Watch, "want path and token, each with its NUL")
	}
	return f[0], f[1], nil
}

// AppendTxID appends a transaction's number: the reply to TRANSACTION_START.
func AppendTxID(dst []byte, tx uint32) []byte {
	return append(strconv.AppendUint(dst, uint64(tx), 10), 0)
}

// ParseTxID decodes a transaction's number, which is never 0.
func ParseTxID(b []byte) (uint32, error) {
	s, err := ParseString(b)
	if err != nil {
		return 0, err
	}
	n, err := parseUint(s, 32)
	if err != nil || n == 0 {
		return 0, malformed(TransactionStart, fmt.Sprintf("bad transaction number %q", s))
	}
	return uint32(n), nil
}

// AppendTransactionEnd appends the request that ends a transaction: commit or abort.
func AppendTransactionEnd(dst []byte, commit bool) []byte {
	if commit {
		return append(dst, 'T', 0)
	}
	return append(dst, 'F', 0)
}

// ParseTransactionEnd decodes it.
func ParseTransactionEnd(b []byte) (commit bool, err error) {
	switch string(b) {
	case "T\x00":
		return true, nil
	case "F\x00":
		return false, nil
	}
	return false, malformed(TransactionEnd, "want T or F")
}

// AppendDomID appends a domain's number: RELEASE, RESUME, GET_DOMAIN_PATH and IS_DOMAIN_INTRODUCED.
func AppendDomID(dst []byte, d xen.DomID) []byte {
	return append(strconv.AppendUint(dst, uint64(d), 10), 0)
}

// ParseDomID decodes a domain's number.
func ParseDomID(b []byte) (xen.DomID, error) {
	s, err := ParseString(b)
	if err != nil {
		return 0, err
	}
	return parseDomID(s)
}

func parseDomID(s string) (xen.DomID, error) {
	n, err := parseUint(s, 16)
	if err != nil {
		return 0, fmt.Errorf("xenstore domain %q: not a number of a domain: %w", s, EINVAL)
	}
	return xen.DomID(n), nil
}

// AppendIntroduce appends an INTRODUCE request: the domain, the frame of its ring page (ignored by daemons that
// map grant 1) and the event channel port that it made for the daemon.
func AppendIntroduce(dst []byte, d xen.DomID, gfn uint64, port xen.Port) []byte {
	dst = AppendDomID(dst, d)
	dst = append(strconv.AppendUint(dst, gfn, 10), 0)
	return append(strconv.AppendUint(dst, uint64(port), 10), 0)
}

// ParseIntroduce decodes an INTRODUCE request.
func ParseIntroduce(b []byte) (d xen.DomID, gfn uint64, port xen.Port, err error) {
	f, err := ParseStrings(b)
	if err != nil || len(f) < 3 {
		return 0, 0, 0, malformed(Introduce, "want domain, frame and port")
	}
	if d, err = parseDomID(f[0]); err != nil {
		return 0, 0, 0, err
	}
	if gfn, err = parseUint(f[1], 64); err != nil {
		return 0, 0, 0, malformed(Introduce, "bad frame number")
	}
	p, err := parseUint(f[2], 32)
	if err != nil {
		return 0, 0, 0, malformed(Introduce, "bad port")
	}
	return d, gfn, xen.Port(p), nil
}

// AppendSetTarget appends a SET_TARGET request: d may do what target may.
func AppendSetTarget(dst []byte, d, target xen.DomID) []byte {
	return AppendDomID(AppendDomID(dst, d), target)
}

// ParseSetTarget decodes a SET_TARGET request.
func ParseSetTarget(b []byte) (d, target xen.DomID, err error) {
	f, err := ParseStrings(b)
	if err != nil || len(f) != 2 {
		return 0, 0, malformed(SetTarget, "want two domains")
	}
	if d, err = parseDomID(f[0]); err != nil {
		return 0, 0, err
	}
	target, err = parseDomID(f[1])
	return d, target, err
}

// AppendDirectoryPart appends a DIRECTORY_PART request: children of path from a byte offset in the list on.
func AppendDirectoryPart(dst []byte, path string, offset int) []byte {
	return append(strconv.AppendUint(AppendString(dst, path), uint64(offset), 10), 0)
}

// ParseDirectoryPart decodes a DIRECTORY_PART request.
func ParseDirectoryPart(b []byte) (path string, offset int, err error) {
	f, err := ParseStrings(b)
	if err != nil || len(f) != 2 {
		return "", 0, malformed(DirectoryPart, "want path and offset")
	}
	n, err := parseUint(f[1], 31)
	if err != nil {
		return "", 0, malformed(DirectoryPart, "bad offset")
	}
	return f[0], int(n), nil
}

// Part is the reply to DIRECTORY_PART.
type Part struct {
	Generation string // changes when the list of children does; then start again from offset 0
	Names      []string
	Size       int  // bytes of the list that Names took: add it to the offset
	Last       bool // nothing follows
}

// AppendPart appends the reply.
func AppendPart(dst []byte, p Part) []byte {
	dst = AppendStrings(AppendString(dst, p.Generation), p.Names...)
	if p.Last {
		dst = append(dst, 0)
	}
	return dst
}

// ParsePart decodes the reply. One that is not the last holds at least one name, so a client makes progress.
func ParsePart(b []byte) (Part, error) {
	f, err := ParseStrings(b)
	if err != nil || len(f) == 0 {
		return Part{}, malformed(DirectoryPart, "reply lacks its generation")
	}
	p := Part{Generation: f[0], Names: f[1:]}
	if n := len(p.Names); n > 0 && p.Names[n-1] == "" {
		p.Names, p.Last = p.Names[:n-1], true
	}
	for _, n := range p.Names {
		if n == "" {
			return Part{}, malformed(DirectoryPart, "reply has an empty name")
		}
		p.Size += len(n) + 1
	}
	if len(p.Names) == 0 && !p.Last {
		return Part{}, malformed(DirectoryPart, "reply is neither the last nor has a name")
	}
	return p, nil
}
