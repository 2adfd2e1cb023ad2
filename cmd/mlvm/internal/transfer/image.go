package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"morgana/block/file"
	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/progress"
	"morgana/lvm/image"
	imagespec "morgana/lvm/image/spec"
	"morgana/lvm/image/tree/disk"
	"morgana/lvm/metadata"
)

// images are the verbs about whole disk images.
func images() []command.Verb {
	return []command.Verb{{
		Name: "image", Summary: "build a disk image with partitions, volumes and file systems", Usage: []string{"build SPEC -o FILE [-f] [--json]"},
		Min: 2, Max: 2,
		Own: []args.Option{
			{Name: "output", Short: 'o', Kind: args.String, Help: "the image"},
			{Name: "force", Short: 'f', Help: "replace an image that is there"},
			{Name: "json", Help: "say what was built as JSON"},
		},
		Details: `SPEC describes a disk, a line for each thing:

    disk size=2G seed="release 7" time=2026-01-01T00:00:00Z
    partition esp  type=esp size=64M format=fat label=ESP from=boot
    partition main type=lvm
    group vg0 on=main
    volume root size=1G format=ext4 label=root from=rootfs owner=0:0
      set  /etc/shadow mode=0640 owner=0:42
      node /dev/console type=char major=5 minor=1
    volume data extents=100%FREE format=ext4

Directories are relative to SPEC. Modes, owners, links, device nodes, extended attributes and holes are kept; owner=
and the lines below a file system change them, so no root is needed. The same description and content make the same
bytes: uuids come from the seed (by default the description), times are the disk's (by default 1980).

  disk       size sector=512|4096 seed time
  partition  type=esp|lvm|linux|swap|bios|GUID size (one may be without: the rest) and a file system
  group      on=PARTITION,…|disk extent tags
  volume     size or extents=N|N%FREE|N%VG, stripes stripesize tags readonly=yes and a file system
  a file system is format=ext4|fat with label from owner=UID:GID times=keep, for ext4 uuid inodes journal=no reserved
  below it: dir, file (from or text), symlink (target), link (to), node (type=char|block|fifo|socket major minor), set,
  remove, each with a PATH; mode owner time xattr.NAME`,
		Examples: []string{"image build disk.spec -o disk.img"},
		Run:      imageVerb,
	}}
}

func imageVerb(ctx context.Context, r *command.Run) error {
	if r.Operands[0] != "build" || r.Str("output", "") == "" {
		return r.Verb.NoMatch()
	}
	name, out := r.Operands[1], r.Str("output", "")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	s, err := imagespec.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		if err == nil && !r.Has("force") {
			err = fmt.Errorf("%s is there already; -f replaces it", out)
		}
		if err != nil {
			return err
		}
	}
	if r.Test() {
		return nil
	}
	result, err := buildImage(ctx, r, s, text, filepath.Dir(name), out)
	if err != nil {
		var e *imagespec.Error
		if errors.As(err, &e) {
			return fmt.Errorf("%s: %w", name, err)
		}
		return err
	}
	if r.Has("json") {
		return json.NewEncoder(r.Stdout).Encode(result)
	}
	for _, v := range result.Volumes {
		format := "no file system"
		if v.Format != "" {
			format = v.Format + " " + v.FSUUID
		}
		r.Print("Logical volume %s/%s of %s: %s", v.Group, v.Name, metadata.FormatSize(uint64(v.Size)/metadata.SectorSize), format)
	}
	r.Print("Image \"%s\" successfully built.", out)
	return nil
}

// buildImage builds beside the image's place and moves the result there when it is whole, so that there is never half
// of one.
func buildImage(ctx context.Context, r *command.Run, s *imagespec.Spec, text []byte, base, out string) (result *image.Result, err error) {
	temp, err := os.MkdirTemp(filepath.Dir(out), ".mlvm-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	part := filepath.Join(temp, "image")
	d, err := file.Create(part, s.Disk.Size, file.WithSectorSize(s.Disk.Sector))
	if err != nil {
		return nil, err
	}
	var bar *progress.Bar
	result, err = image.Build(ctx, d, s, text, disk.Source{Base: base}, image.Options{
		Total:    func(n int64) { bar = progress.New(r.Stderr, "building", n) },
		Progress: func(n int64) { bar.Add(n) },
	})
	bar.End()
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	return result, os.Rename(part, out)
}
