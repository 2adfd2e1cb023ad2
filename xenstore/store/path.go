package store

import (
	"strings"

	"morgana/xen/wire/xs"
)

const home = "/local/domain/"

// ValidPath reports whether a path is one of a node: absolute, of letters, digits and - / _ @, without empty components,
// and not longer than a limit, to which the home of a domain does not count.
func ValidPath(path string, limit int) bool {
	if path == "/" {
		return true
	}
	if path == "" || path[0] != '/' || path[len(path)-1] == '/' {
		return false
	}
	last := byte(0)
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '/' && last == '/' || !allowed[c] {
			return false
		}
		last = c
	}
	return len(path) <= limit || len(path) <= limit+homeLength(path)
}

var allowed = func() (a [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_@") {
		a[c] = true
	}
	return a
}()

// homeLength is how much of the path is "/local/domain/N/", N of at most five digits.
func homeLength(path string) int {
	if !strings.HasPrefix(path, home) {
		return 0
	}
	for i := len(home); i < len(path) && i <= len(home)+5; i++ {
		switch c := path[i]; {
		case c == '/' && i > len(home):
			return i + 1
		case c < '0' || c > '9':
			return 0
		}
	}
	return 0
}

// Limits bound what a guest may put into the store; privileged actors are bound only by PathMax.
type Limits struct {
	Nodes       int // that a domain owns
	NodeSize    int // of a node with its permissions and its children's names, in bytes
	Perms       int // entries of a node's permissions
	PathMax     int // bytes, without "/local/domain/N/"
	Memory      int // bytes that a domain's nodes, watches, requests and replies take; 0 for no limit
	TxNodes     int // that a transaction may look at or change
	Tx          int // open transactions of a connection
	Watches     int // of a domain
	Outstanding int // requests of a domain that are not answered yet, or whose events are not all delivered
	SoftMemory  int // bytes: above, a warning
}

// DefaultLimits are xenstored's.
func DefaultLimits() Limits {
	return Limits{
		Nodes: 1000, NodeSize: 2048, Perms: 5, PathMax: xs.RelPathMax, Memory: 2560 << 10, TxNodes: 1024, Tx: 10, Watches: 128,
		Outstanding: 20, SoftMemory: 2 << 20,
	}
}
