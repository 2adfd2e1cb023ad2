package verbs

import (
	"context"
	"errors"
	"slices"

	"morgana/block"
	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// volumeData are the verbs that deal with what is in volumes, and where. lvm2 leaves that to the kernel.
func volumeData() []command.Verb {
	return []command.Verb{cpVerb(), mapVerb(), dmtableVerb()}
}

// Selected are volumes that a command line names.
type Selected struct {
	Group *lvm.Group
	names []string // of volumes; those of a whole group are its visible ones
	whole bool     // the group was named
}

// choose takes operands apart: VG or VG/LV.
func choose(operands []string) (groups []string, volumes map[string][]string) {
	volumes = map[string][]string{}
	for _, o := range operands {
		vg, lv := args.SplitLV(o)
		if vg == "" {
			vg, lv = lv, ""
		}
		if !slices.Contains(groups, vg) {
			groups = append(groups, vg)
		}
		if lv != "" {
			volumes[vg] = append(volumes[vg], lv)
		} else if _, ok := volumes[vg]; !ok {
			volumes[vg] = nil
		}
	}
	return groups, volumes
}

// Pick opens the groups of a command line, or all there are, and finds the volumes.
func Pick(ctx context.Context, r *command.Run, write bool, operands []string) ([]Selected, error) {
	groups, volumes := choose(operands)
	need := command.Need{Write: write, Groups: groups}
	inv, err := r.Scan(ctx, need)
	if err != nil {
		return nil, err
	}
	if len(operands) == 0 {
		for _, f := range inv.Groups() {
			groups = append(groups, f.Name)
		}
	}
	var out []Selected
	for _, name := range groups {
		if _, err := r.Found(inv, name); err != nil {
			return nil, err
		}
		var g *lvm.Group
		if write {
			// Missing disks keep no volume from being served that is not on them.
			g, err = r.Open(inv, name, lvm.AllowMissing)
		} else {
			g, err = r.OpenReadOnly(inv, name, 0)
		}
		if err != nil {
			return nil, err
		}
		s := Selected{Group: g, names: volumes[name], whole: len(volumes[name]) == 0}
		if s.whole {
			for lv := range g.VG().LVs() {
				if lv.Visible() {
					s.names = append(s.names, lv.Name)
				}
			}
		}
		for _, lv := range s.names {
			if g.VG().LV(lv) == nil {
				return nil, r.Failed("Failed to find logical volume \"%s/%s\"", name, lv)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// disks are those of a group by the uuids of its physical volumes.
func disks(g *lvm.Group) map[metadata.UUID]block.Device {
	m := map[metadata.UUID]block.Device{}
	for _, pv := range g.Members() {
		m[pv.ID] = pv.Disk.Device
	}
	return m
}

// OpenVolumes opens the chosen volumes. Of those that only came with their group, one that cannot be opened is left out
// with a warning; for writing, one that is for reading only is opened so.
func OpenVolumes(r *command.Run, s Selected, readOnly bool) ([]*lvm.LV, error) {
	var out []*lvm.LV
	for _, name := range s.names {
		ro := readOnly || r.Test()
		lv, err := lvm.OpenVolume(s.Group.VG(), name, disks(s.Group), ro)
		if s.whole && !ro && (errors.Is(err, metadata.ErrReadOnly) || errors.Is(err, metadata.ErrInUse)) {
			lv, err = lvm.OpenVolume(s.Group.VG(), name, disks(s.Group), true)
		}
		switch {
		case err == nil:
			out = append(out, lv)
		case s.whole:
			r.Warn("WARNING: left out: %v", err)
		default:
			return nil, err
		}
	}
	return out, nil
}
