package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"morgana/lvm/image/tree"
)

const (
	attrMagic     = 0xea020000
	attrEntrySize = 16 // without the name
	attrBlockHead = 32
	inlineAttrs   = inodeSize - 128 - extraSize
)

// prefixes are the beginnings of names that are kept as numbers (fs/ext4/xattr.h). The longest that fits counts.
var prefixes = []struct {
	index  byte
	prefix string
}{
	{2, "system.posix_acl_access"}, {3, "system.posix_acl_default"}, {8, "system.richacl"}, {1, "user."}, {4, "trusted."}, {6, "security."}, {7, "system."},
}

// An attr is an extended attribute as it is kept.
type attr struct {
	index byte
	name  string // without the prefix
	value []byte
}

func (a attr) size() int { return (attrEntrySize+len(a.name)+3)&^3 + (len(a.value)+3)&^3 }

// hash is that of an entry in a block (fs/ext4/xattr.c, ext4_xattr_hash_entry).
func (a attr) hash() uint32 {
	var h uint32
	for i := range len(a.name) {
		h = h<<5 ^ h>>27 ^ uint32(a.name[i])
	}
	for v := a.value; len(v) > 0; v = v[min(4, len(v)):] {
		var word [4]byte
		copy(word[:], v)
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(word[:])
	}
	return h
}

// attrsOf translates a node's extended attributes.
func attrsOf(name string, n *tree.Node) ([]attr, error) {
	var out []attr
	for _, x := range n.Xattrs {
		a := attr{value: x.Value}
		for _, p := range prefixes {
			if rest, ok := strings.CutPrefix(x.Name, p.prefix); ok && (rest == "") == !strings.HasSuffix(p.prefix, ".") {
				a.index, a.name = p.index, rest
				break
			}
		}
		if a.index == 0 || len(a.name) > 255 {
			return nil, fmt.Errorf("%s: ext4 keeps no extended attribute %q", name, x.Name)
		}
		if a.index == 2 || a.index == 3 {
			var err error
			if a.value, err = aclOnDisk(x.Value); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, x.Name, err)
			}
		}
		out = append(out, a)
	}
	// The order in which the kernel looks for them.
	slices.SortFunc(out, func(a, b attr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	for i := 1; i < len(out); i++ {
		if out[i].index == out[i-1].index && out[i].name == out[i-1].name {
			return nil, fmt.Errorf("%s: the extended attribute %q is given twice", name, out[i].name)
		}
	}
	return out, nil
}

// aclOnDisk turns an access control list from the form that programs see (linux/posix_acl_xattr.h) into the shorter
// one of ext4 (fs/ext4/acl.h).
func aclOnDisk(b []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(b) < 4 || le.Uint32(b) != 2 || (len(b)-4)%8 != 0 {
		return nil, fmt.Errorf("%d bytes are no access control list", len(b))
	}
	out := le.AppendUint32(nil, 1)
	for b = b[4:]; len(b) > 0; b = b[8:] {
		out = append(out, b[:4]...)
		switch tag := le.Uint16(b); tag {
		case 2, 8: // a user or a group by number
			out = append(out, b[4:8]...)
		case 1, 4, 16, 32: // owner, group, mask, others
		default:
			return nil, fmt.Errorf("an access control list with the tag %#x", tag)
		}
	}
	return out, nil
}

// putAttrs puts attributes into the inode where they fit, else into a block.
func (w *writer) putAttrs(name string, n *inode, attrs []attr) error {
	if len(attrs) == 0 {
		return nil
	}
	need := 4 // the end
	for _, a := range attrs {
		need += a.size()
	}
	if 4+need <= inlineAttrs {
		n.attrs = make([]byte, inlineAttrs)
		binary.LittleEndian.PutUint32(n.attrs, attrMagic)
		// Offsets count from the first entry there.
		fillAttrs(n.attrs[4:], 0, attrs, false)
		return nil
	}
	if attrBlockHead+need > blockSize {
		return fmt.Errorf("%s: its extended attributes take %d bytes, ext4 has room for %d", name, need, blockSize-attrBlockHead)
	}
	at, err := w.allocate()
	if err != nil {
		return err
	}
	n.attrsAt = at
	n.blocks++
	b := make([]byte, blockSize)
	le := binary.LittleEndian
	le.PutUint32(b, attrMagic)
	le.PutUint32(b[4:], 1) // used by one inode
	le.PutUint32(b[8:], 1) // block
	le.PutUint32(b[12:], fillAttrs(b, attrBlockHead, attrs, true))
	var number [8]byte
	le.PutUint64(number[:], uint64(at))
	le.PutUint32(b[16:], checksum(checksum(w.seed, number[:]), b))
	return writeBlock(w.dev, at, b)
}

// fillAttrs puts entries into b from off on and their values at its end. It returns the hash of all.
func fillAttrs(b []byte, off int, attrs []attr, hashed bool) (all uint32) {
	le := binary.LittleEndian
	end := len(b)
	for _, a := range attrs {
		end -= (len(a.value) + 3) &^ 3
		copy(b[end:], a.value)
		e := b[off:]
		e[0], e[1] = byte(len(a.name)), a.index
		if len(a.value) > 0 {
			le.PutUint16(e[2:], uint16(end))
		}
		le.PutUint32(e[8:], uint32(len(a.value)))
		if hashed {
			h := a.hash()
			le.PutUint32(e[12:], h)
			all = all<<16 ^ all>>16 ^ h
		}
		copy(e[attrEntrySize:], a.name)
		off += (attrEntrySize + len(a.name) + 3) &^ 3
	}
	return all
}
