package verbs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"morgana/block"
	"morgana/block/file"
	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/progress"
	"morgana/lvm"
)

func cpVerb() command.Verb {
	return command.Verb{
		Name: "cp", Summary: "copy between a file and a logical volume", Usage: []string{"FILE|- LV", "LV FILE|-", "LV LV"}, Min: 2, Max: 2,
		Own: []args.Option{{Name: "json", Help: "say what was copied as JSON"}},
		Details: `A volume is VG/LV of a group that is there; everything else is a file, and - is standard input or output.
The volume must exist, and be at least as large as what is copied to it; what is behind stays as it is. A file is made,
or replaced, with the size of what is copied.

Ranges of zeros are not written as data: a file gets holes, a volume is told to be zero there, which on a plain file
makes holes too.`,
		Examples: []string{"cp debian.ext4 vg0/root", "cp vg0/root root.ext4", "cp - vg0/root <image", "cp vg0/root vg1/root"},
		Run:      cp,
	}
}

func cp(ctx context.Context, r *command.Run) error {
	from, to := r.Operands[0], r.Operands[1]
	names, _ := choose(r.Operands)
	write := looksLikeVolume(to)
	inv, err := r.Scan(ctx, command.Need{Write: write, Groups: names})
	if err != nil {
		return err
	}
	c := &copier{r: r, ctx: ctx, inv: inv, write: write, groups: map[string]*lvm.Group{}}
	dst, err := c.volume(to, true)
	if err != nil {
		return err
	}
	src, err := c.volume(from, false)
	switch {
	case err != nil:
		return err
	case src == nil && dst == nil:
		return r.Failed("Neither %s nor %s is a logical volume.", from, to)
	case from == to:
		return r.Failed("%s and %s are the same volume.", from, to)
	case dst == nil && to != "-":
		if err := r.NotOurs(to); err != nil {
			return err
		}
	}
	if r.Test() {
		return nil
	}
	if err := c.copy(from, to, src, dst); err != nil {
		return err
	}
	words := r.Stdout
	if to == "-" {
		words = r.Stderr
	}
	if r.Has("json") {
		return json.NewEncoder(words).Encode(struct {
			Bytes int64 `json:"bytes"`
			Data  int64 `json:"data"`
		}{c.done, c.data})
	}
	fmt.Fprintf(words, "  Copied %d bytes from %s to %s, %d of them data.\n", c.done, from, to, c.data)
	return nil
}

// A copier copies once.
type copier struct {
	r      *command.Run
	ctx    context.Context
	inv    *lvm.Inventory
	write  bool // the disks are open for writing
	groups map[string]*lvm.Group
	bar    *progress.Bar
	done   int64 // bytes
	data   int64 // of them that are not in ranges of zeros
}

// looksLikeVolume reports whether an operand may be a volume's name.
func looksLikeVolume(operand string) bool {
	vg, lv := args.SplitLV(operand)
	return operand != "-" && vg != "" && lv != ""
}

// volume opens the volume that an operand names; it is nil if that names a file.
func (c *copier) volume(operand string, write bool) (block.Device, error) {
	if !looksLikeVolume(operand) {
		return nil, nil
	}
	vg, lv := args.SplitLV(operand)
	if _, err := c.inv.Group(vg); errors.Is(err, lvm.ErrNotFound) {
		return nil, nil
	}
	if _, err := os.Lstat(operand); err == nil {
		return nil, c.r.Failed("%s is both a file and a logical volume; write ./%s for the file or /dev/%s for the volume.", operand, operand, operand)
	}
	g := c.groups[vg]
	if g == nil {
		var err error
		if c.write {
			g, err = c.r.Open(c.inv, vg, lvm.AllowMissing)
		} else {
			g, err = c.r.OpenReadOnly(c.inv, vg, 0)
		}
		if err != nil {
			return nil, err
		}
		c.groups[vg] = g
	}
	return lvm.OpenVolume(g.VG(), lv, disks(g), !write)
}

func (c *copier) copy(from, to string, src, dst block.Device) error {
	if src == nil && from != "-" {
		switch st, err := os.Stat(from); {
		case err != nil:
			return err
		case st.Mode().IsRegular() || st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0:
			d, err := file.OpenReadOnly(from)
			if err != nil {
				return err
			}
			defer d.Close()
			src = d
		}
	}
	total := int64(0)
	if src != nil {
		total = src.Size()
		if dst != nil && total > dst.Size() {
			return c.r.Failed("%s has %d bytes, %s room for %d; make it larger with lvextend.", from, total, to, dst.Size())
		}
	}
	c.bar = progress.New(c.r.Stderr, "copying", total)
	defer c.bar.End()
	out, err := c.output(to, dst)
	if err != nil {
		return err
	}
	if src != nil {
		err = c.device(src, out)
	} else {
		err = c.stream(from, out, to)
	}
	return errors.Join(err, out.finish(c.done, err == nil))
}

const copyBuffer = 1 << 20

// device copies what knows its size and perhaps its holes.
func (c *copier) device(src block.Device, out output) error {
	buf := make([]byte, copyBuffer)
	for off := int64(0); off < src.Size(); {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, hole, err := block.Hole(src, off, src.Size()-off)
		if err != nil {
			return err
		}
		if hole {
			n = min(n, 1<<30)
			if err := c.zeros(out, off, n); err != nil {
				return err
			}
			off += n
			continue
		}
		b := buf[:min(n, copyBuffer)]
		if _, err := src.ReadAt(b, off); err != nil {
			return err
		}
		if err := c.put(out, b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// stream copies what ends when it ends.
func (c *copier) stream(from string, out output, to string) error {
	in := c.r.Stdin
	if from != "-" { // a pipe, say
		f, err := os.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	buf := make([]byte, copyBuffer)
	for off := int64(0); ; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(in, buf)
		if n > 0 {
			if room := out.room(); off+int64(n) > room {
				return fmt.Errorf("there is more than the %d bytes that %s has room for; it is overwritten up to byte %d", room, to, off)
			}
			if err := c.put(out, buf[:n], off); err != nil {
				return err
			}
			off += int64(n)
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// granule is the smallest range of zeros that becomes a hole.
const granule = 4096

var zeroGranule [granule]byte

// put writes data, but for the zeros in it.
func (c *copier) put(out output, b []byte, off int64) error {
	for len(b) > 0 {
		n, zero := alike(b)
		var err error
		if zero {
			err = c.zeros(out, off, int64(n))
		} else if err = out.write(b[:n], off); err == nil {
			c.advance(int64(n), int64(n))
		}
		if err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// alike is how many bytes at the beginning of b are zeros, in whole granules, or are not.
func alike(b []byte) (n int, zero bool) {
	is := func(at int) bool {
		g := b[at:min(at+granule, len(b))]
		return bytes.Equal(g, zeroGranule[:len(g)])
	}
	zero = is(0)
	for n = granule; n < len(b) && is(n) == zero; n += granule {
	}
	return min(n, len(b)), zero
}

func (c *copier) zeros(out output, off, n int64) error {
	err := out.zero(off, n)
	if err == nil {
		c.advance(n, 0)
	}
	return err
}

func (c *copier) advance(n, data int64) {
	c.done += n
	c.data += data
	c.bar.Add(n)
}
