package history

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// repo is the files of a bare repository.
type repo struct{ dir string }

const branch = "refs/heads/main"

func openRepo(dir string) (*repo, error) {
	r := &repo{dir}
	for _, d := range []string{"objects/pack", "objects/info", "refs/heads", "refs/tags"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{
		"HEAD":   "ref: " + branch + "\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n",
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			if err := r.replace(name, []byte(text)); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// replace writes a file whole or not at all.
func (r *repo) replace(name string, b []byte) error {
	name = filepath.Join(r.dir, name)
	tmp := name + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// head is the newest commit, false if there is none.
func (r *repo) head() (hash, bool, error) {
	b, err := os.ReadFile(filepath.Join(r.dir, branch))
	if errors.Is(err, fs.ErrNotExist) {
		return hash{}, false, nil
	}
	var h hash
	if err == nil {
		if n, derr := hex.Decode(h[:], bytes.TrimSpace(b)); derr != nil || n != len(h) {
			err = fmt.Errorf("history: %s holds %q", branch, b)
		}
	}
	return h, err == nil, err
}

// write adds a pack: the index last, because without it git does not see the pack.
func (r *repo) write(p *pack) (string, error) {
	data, index, name := p.finish()
	base := filepath.Join("objects/pack", "pack-"+name.String())
	if err := r.replace(base+".pack", data); err != nil {
		return "", err
	}
	return base, r.replace(base+".idx", index)
}

func (r *repo) packs() ([]string, error) {
	all, err := filepath.Glob(filepath.Join(r.dir, "objects/pack/*.pack"))
	for i := range all {
		all[i] = strings.TrimSuffix(all[i], ".pack")
	}
	return all, err
}

// objects reads all packs: each object as it is in its pack.
func (r *repo) objects(packs []string) (map[hash][]byte, error) {
	all := make(map[hash][]byte)
	for _, base := range packs {
		data, err := os.ReadFile(base + ".pack")
		if err != nil {
			return nil, err
		}
		index, err := os.ReadFile(base + ".idx")
		if err != nil {
			return nil, err
		}
		const fanout = 8
		if len(index) < fanout+1024+40 || len(data) < packHeader+20 {
			return nil, fmt.Errorf("history: %s is too short", base)
		}
		n := int(binary.BigEndian.Uint32(index[fanout+1020:]))
		names := index[fanout+1024:]
		if len(names) != n*28+40 {
			return nil, fmt.Errorf("history: %s.idx has %d objects in %d bytes", base, n, len(index))
		}
		entries := make([]entry, n)
		for i := range entries {
			copy(entries[i].hash[:], names[20*i:])
			entries[i].offset = binary.BigEndian.Uint32(names[24*n+4*i:])
		}
		slices.SortFunc(entries, func(a, b entry) int { return int(int64(a.offset) - int64(b.offset)) })
		for i, e := range entries {
			end := uint32(len(data) - 20)
			if i+1 < n {
				end = entries[i+1].offset
			}
			if e.offset > end || end > uint32(len(data)) {
				return nil, fmt.Errorf("history: %s: bad offset", base)
			}
			all[e.hash] = data[e.offset:end:end]
		}
	}
	return all, nil
}

// unpack is an object's type and body.
func unpack(raw []byte) (kind, []byte, error) {
	if len(raw) == 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	k := kind(raw[0] >> 4 & 7)
	i := 1
	for more := raw[0]; more&0x80 != 0; i++ {
		if i >= len(raw) {
			return 0, nil, io.ErrUnexpectedEOF
		}
		more = raw[i]
	}
	z, err := zlib.NewReader(bytes.NewReader(raw[i:]))
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(z)
	return k, body, err
}

// shrink puts all packs into one, with the newest commits only; git calls what is left a shallow repository. It returns
// how many commits are left.
func (r *repo) shrink(keep int) (int, error) {
	packs, err := r.packs()
	if err != nil {
		return 0, err
	}
	all, err := r.objects(packs)
	if err != nil {
		return 0, err
	}
	at, ok, err := r.head()
	if err != nil || !ok {
		return 0, err
	}
	out := newPack(newCompressor())
	left, shallow := 0, ""
	for {
		_, body, err := unpack(all[at])
		if err != nil {
			return 0, fmt.Errorf("history: commit %s: %w", at, err)
		}
		out.copy(at, all[at])
		left++
		var root, parent hash
		if _, err := hex.Decode(root[:], body[len("tree "):len("tree ")+40]); err != nil {
			return 0, fmt.Errorf("history: commit %s: %w", at, err)
		}
		if err := reach(out, all, root); err != nil {
			return 0, err
		}
		rest, hasParent := bytes.CutPrefix(body[len("tree ")+41:], []byte("parent "))
		if !hasParent {
			break
		}
		if _, err := hex.Decode(parent[:], rest[:40]); err != nil {
			return 0, fmt.Errorf("history: commit %s: %w", at, err)
		}
		if _, there := all[parent]; left == keep || !there {
			shallow = at.String() + "\n"
			break
		}
		at = parent
	}
	base, err := r.write(out)
	if err != nil {
		return 0, err
	}
	if shallow != "" {
		if err := r.replace("shallow", []byte(shallow)); err != nil {
			return 0, err
		}
	}
	for _, p := range packs {
		if p != filepath.Join(r.dir, base) {
			err = errors.Join(err, os.Remove(p+".idx"), os.Remove(p+".pack"))
		}
	}
	return left, err
}

// reach copies a tree and what is below it.
func reach(out *pack, all map[hash][]byte, h hash) error {
	if out.has[h] {
		return nil
	}
	raw, ok := all[h]
	if !ok {
		return fmt.Errorf("history: object %s is missing", h)
	}
	out.copy(h, raw)
	k, body, err := unpack(raw)
	if err != nil {
		return fmt.Errorf("history: object %s: %w", h, err)
	}
	for k == treeKind && len(body) > 0 {
		i := bytes.IndexByte(body, 0)
		if i < 0 || len(body) < i+21 {
			return fmt.Errorf("history: tree %s is malformed", h)
		}
		var c hash
		copy(c[:], body[i+1:])
		body = body[i+21:]
		if err := reach(out, all, c); err != nil {
			return err
		}
	}
	return nil
}
