package lvm

import (
	"slices"

	"morgana/lvm/metadata"
)

// armed reports whether a group has changes in a redo log that its text does not have yet.
func armed(vg *metadata.VG) bool { return slices.Contains(vg.Tags(), "mlvm.armed") }

// openArmed opens a group whose redo log has changes. The table of refusals has not been asked.
func (g *Group) openArmed(f *FoundGroup, o OpenOptions) error {
	if o.Mode == ReadWrite {
		return refuse(ErrUnsupported, "Volume group %s has changes in a redo log", f.Name)
	}
	return nil
}

// openLog opens the redo log of a group that keeps one.
func (g *Group) openLog(OpenOptions) error { return nil }
