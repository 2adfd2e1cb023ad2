package image

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"morgana/block"
	"morgana/lvm"
	"morgana/lvm/image/ext4"
	"morgana/lvm/image/fat"
	"morgana/lvm/image/spec"
	"morgana/lvm/image/tree"
	"morgana/lvm/metadata"
)

// A Result is what was built.
type Result struct {
	Partitions []Part   `json:"partitions"`
	Volumes    []Volume `json:"volumes"`
}

// A Volume is a logical volume that was made.
type Volume struct {
	Group  string `json:"vg_name"`
	Name   string `json:"lv_name"`
	UUID   string `json:"lv_uuid"`
	Size   int64  `json:"size"` // bytes
	Format string `json:"format"`
	FSUUID string `json:"fs_uuid,omitempty"`
}

// Options of a build.
type Options struct {
	// Total, if set, is told how many bytes of files will be written, before the first is.
	Total func(n int64)
	// Progress, if set, is told how many were written since the last call.
	Progress func(n int64)
}

// Build makes the image that s describes on a device of its size, every byte of which is zero. text is what s was
// parsed from: the seed, unless s has another. Everything is read and checked before the first byte is written, but for
// the files' content.
func Build(ctx context.Context, dev block.Device, s *spec.Spec, text []byte, src Source, o Options) (*Result, error) {
	if dev.Size() != s.Disk.Size || dev.SectorSize() != s.Disk.Sector {
		return nil, fmt.Errorf("image: a device of %d bytes with sectors of %d for a disk of %d with %d", dev.Size(), dev.SectorSize(), s.Disk.Size, s.Disk.Sector)
	}
	b := &builder{dev: dev, spec: s, src: src, opts: o, trees: map[*spec.FS]*tree.Node{}}
	b.seed = newSeed(s.Disk.Seed)
	if s.Disk.Seed == "" {
		b.seed = newSeed(string(text))
	}
	var err error
	if b.result.Partitions, err = layOut(s, b.seed); err != nil {
		return nil, err
	}
	if err := b.load(); err != nil {
		return nil, err
	}
	if len(s.Partitions) > 0 {
		if err := writeTable(dev, s, b.result.Partitions, b.seed); err != nil {
			return nil, err
		}
	}
	for i, p := range s.Partitions {
		if p.FS == nil {
			continue
		}
		part := b.result.Partitions[i]
		d, err := block.Sub(dev, part.Start, part.Size)
		if err != nil {
			return nil, err
		}
		if _, err := b.format(ctx, d, p.FS, "partition "+p.Name, part.Start); err != nil {
			return nil, lineError(p.Line, "partition %s: %v", p.Name, err)
		}
	}
	for _, g := range s.Groups {
		if err := b.group(ctx, g); err != nil {
			return nil, err
		}
	}
	return &b.result, dev.Flush()
}

type builder struct {
	dev    block.Device
	spec   *spec.Spec
	src    Source
	seed   seed
	opts   Options
	trees  map[*spec.FS]*tree.Node
	result Result
}

// load reads the contents of all file systems.
func (b *builder) load() error {
	var total int64
	load := func(f *spec.FS, line int) error {
		if f == nil {
			return nil
		}
		root, err := content(f, b.src, b.spec.Disk.Time)
		if err != nil {
			if e := (*spec.Error)(nil); errors.As(err, &e) {
				return err
			}
			return lineError(line, "%v", err)
		}
		b.trees[f] = root
		seen := map[*tree.Node]bool{}
		return root.Walk(func(_ string, n *tree.Node) error {
			if n.Type == tree.File && !seen[n] {
				total += n.Size
			}
			seen[n] = true
			return nil
		})
	}
	for _, p := range b.spec.Partitions {
		if err := load(p.FS, p.Line); err != nil {
			return err
		}
	}
	for _, g := range b.spec.Groups {
		for _, v := range g.Volumes {
			if err := load(v.FS, v.Line); err != nil {
				return err
			}
		}
	}
	if b.opts.Total != nil {
		b.opts.Total(total)
	}
	return nil
}

// format writes a file system and returns its uuid.
func (b *builder) format(ctx context.Context, d block.Device, f *spec.FS, purpose string, offset int64) (uuid string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	progress := func(n int64) {
		if b.opts.Progress != nil {
			b.opts.Progress(n)
		}
	}
	d = stoppable{d, ctx}
	if f.Format == "fat" {
		serial := b.seed.uint32("fat " + purpose)
		return fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff), fat.Write(d, b.trees[f], fat.Options{
			Label: f.Label, Serial: serial, Time: b.spec.Disk.Time, Hidden: uint32(offset / int64(b.spec.Disk.Sector)), Progress: progress,
		})
	}
	id := b.seed.uuid("ext4 " + purpose)
	if f.UUID != "" {
		raw, err := hex.DecodeString(strings.ReplaceAll(f.UUID, "-", ""))
		if err != nil || len(raw) != len(id) {
			return "", fmt.Errorf("%q is no UUID", f.UUID)
		}
		copy(id[:], raw)
	}
	return formatUUID(id), ext4.Write(d, b.trees[f], ext4.Options{
		Label: f.Label, UUID: id, HashSeed: b.seed.uuid("ext4 hash " + purpose), Time: b.spec.Disk.Time, Inodes: f.Inodes,
		NoJournal: f.NoJournal, ReservedPercent: f.Reserved, Progress: progress,
	})
}

// stoppable writes no more once its context has ended.
type stoppable struct {
	block.Device
	ctx context.Context
}

func (s stoppable) WriteAt(p []byte, off int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Device.WriteAt(p, off)
}

// host stands in the metadata for the machine, which has no influence on what is built.
const host = "morgana"

// group makes a volume group and its volumes.
func (b *builder) group(ctx context.Context, g spec.Group) error {
	env := metadata.Env{Rand: b.seed.stream("group " + g.Name), Now: b.spec.Disk.Time, Host: host}
	stamp := func() metadata.Stamp {
		return metadata.Stamp{Generator: "morgana", Description: "Write from mlvm image build.", Host: host, Time: b.spec.Disk.Time}
	}
	var pvs []*lvm.PhysicalVolume
	disks := map[metadata.UUID]block.Device{}
	request := metadata.CreateVG{Name: g.Name, ExtentSize: uint64(g.Extent) / metadata.SectorSize, Tags: g.Tags}
	for _, on := range g.On {
		disk := lvm.Disk{Name: "/dev/disk/by-partlabel/" + on, Device: b.dev}
		if on == "disk" {
			disk.Name = "/dev/vda"
		} else {
			p := b.result.Partitions[slices.IndexFunc(b.spec.Partitions, func(p spec.Partition) bool { return p.Name == on })]
			var err error
			if disk.Device, err = block.Sub(b.dev, p.Start, p.Size); err != nil {
				return err
			}
		}
		pv, err := lvm.CreatePV(ctx, disk, lvm.PVOptions{Rand: b.seed.stream("pv " + on)})
		if err != nil {
			return lineError(g.Line, "group %s: %v", g.Name, err)
		}
		pvs = append(pvs, pv)
		disks[pv.ID] = disk.Device
		request.PVs = append(request.PVs, pv.New())
	}
	vg, _, err := metadata.NewVG(env, request)
	if err != nil {
		return lineError(g.Line, "group %s: %v", g.Name, err)
	}
	group, err := lvm.CreateGroup(ctx, vg, pvs, stamp)
	if err != nil {
		return lineError(g.Line, "group %s: %v", g.Name, err)
	}
	defer group.Close(ctx)
	for _, v := range g.Volumes {
		if err := b.volume(ctx, group, env, v, disks); err != nil {
			return lineError(v.Line, "volume %s: %v", v.Name, err)
		}
	}
	return nil
}

func (b *builder) volume(ctx context.Context, g *lvm.Group, env metadata.Env, v spec.Volume, disks map[metadata.UUID]block.Device) error {
	after, op, err := g.VG().CreateLV(env, metadata.CreateLV{
		Name: v.Name, Size: v.Size, Stripes: v.Stripes, StripeSize: uint64(v.StripeSize) / metadata.SectorSize, Tags: v.Tags,
	})
	if err != nil {
		return err
	}
	if err := g.Commit(ctx, after, op); err != nil {
		return err
	}
	lv, err := lvm.OpenVolume(g.VG(), v.Name, disks, false)
	if err != nil {
		return err
	}
	made := Volume{Group: g.VG().Name(), Name: v.Name, UUID: g.VG().LV(v.Name).ID.String(), Size: lv.Size()}
	if v.FS != nil {
		made.Format = v.FS.Format
		if made.FSUUID, err = b.format(ctx, lv, v.FS, g.VG().Name()+"/"+v.Name, 0); err != nil {
			return err
		}
	}
	b.result.Volumes = append(b.result.Volumes, made)
	if !v.ReadOnly {
		return nil
	}
	if after, op, err = g.VG().ChangeLV(metadata.ChangeLV{Name: v.Name, ReadOnly: &v.ReadOnly}); err != nil {
		return err
	}
	return g.Commit(ctx, after, op)
}
