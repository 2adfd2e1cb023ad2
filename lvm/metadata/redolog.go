package metadata

import (
	"slices"
	"strconv"
	"strings"

	"morgana/lvm/text"
)

// A group may keep a redo log (morgana/lvm/redo) in hidden logical volumes of its own. LVM2 sees nothing but hidden
// volumes with a tag and leaves them alone. While changes are in the log which the text does not have, the text is
// armed: its group cannot be written and belongs to a host that does not exist, so LVM2 refuses to change or activate
// it. What it was before is kept in tags, so that the text alone is enough to disarm it.
const (
	// RedoLogName is the name of the volume with the log; those of its replicas have a number behind it, from 2.
	RedoLogName = "mlvm_log"
	// RedoLogTag marks the volumes with the log.
	RedoLogTag = "mlvm.log"

	armedTag    = "mlvm.armed"  // of the group
	ownerTag    = "mlvm.owner=" // of the group: its system id when it was armed
	positionTag = "mlvm.at="    // of the first volume with the log: how far the text reaches
)

// MaxRedoLogs is the most replicas of a redo log.
const MaxRedoLogs = 4

// RedoLogs returns the volumes with the replicas of the redo log, none if the group has no log.
func (vg *VG) RedoLogs() []*LV {
	var lvs []*LV
	for i := range MaxRedoLogs {
		if lv := vg.LV(redoLogName(i)); lv != nil && !lv.Visible() && slices.Contains(lv.Tags, RedoLogTag) {
			lvs = append(lvs, lv)
		}
	}
	return lvs
}

func redoLogName(i int) string {
	if i == 0 {
		return RedoLogName
	}
	return RedoLogName + strconv.Itoa(i+1)
}

// IsRedoLog reports whether the volume is a replica of the group's redo log.
func (lv *LV) IsRedoLog() bool {
	return !lv.Visible() && strings.HasPrefix(lv.Name, RedoLogName) && slices.Contains(lv.Tags, RedoLogTag)
}

// LogPosition returns what WithLogState put into the text, "" if there is nothing.
func (vg *VG) LogPosition() string {
	for _, lv := range vg.RedoLogs() {
		for _, t := range lv.Tags {
			if p, ok := strings.CutPrefix(t, positionTag); ok {
				return p
			}
		}
	}
	return ""
}

// Armed reports whether this is the text of a group that keeps LVM2 away because its redo log may hold more.
func (vg *VG) Armed() bool {
	return slices.Contains(vg.tags, armedTag) && vg.systemID == vg.armedSystemID()
}

// armedSystemID is the host that an armed group belongs to.
func (vg *VG) armedSystemID() string { return "mlvm." + string(vg.id[:8]) }

// Owner returns the system id of the group as it is when it is not armed.
func (vg *VG) Owner() string {
	if !vg.Armed() {
		return vg.systemID
	}
	for _, t := range vg.tags {
		if id, ok := strings.CutPrefix(t, ownerTag); ok {
			return id
		}
	}
	return ""
}

// WithLogState returns the group with another position and seqno, armed or not. It is not a change by itself, but part
// of the one that the caller commits. The position must be a legal end of a tag.
func (vg *VG) WithLogState(position string, armed bool, seqno uint32) *VG {
	e := vg.edit()
	e.vg.seqno = seqno
	if logs := vg.RedoLogs(); len(logs) > 0 {
		lv := logs[0].changed()
		lv.Tags = slices.DeleteFunc(slices.Clone(lv.Tags), func(t string) bool { return strings.HasPrefix(t, positionTag) })
		if position != "" {
			lv.Tags = append(lv.Tags, positionTag+position)
		}
		lv.set("tags", listOrNone(lv.Tags))
		e.put(lv)
	}
	if armed != vg.Armed() {
		e.arm(armed)
	}
	after, _, err := e.finish(e.vg.head.With("seqno", text.Int(seqno)))
	if err != nil {
		panic(err) // a change of tags needs nothing that could be missing
	}
	return after
}

// arm puts up the barrier or takes it away.
func (e *edit) arm(armed bool) {
	vg := &e.vg
	owner := vg.Owner()
	tags := slices.DeleteFunc(slices.Clone(vg.tags), func(t string) bool {
		return t == armedTag || strings.HasPrefix(t, ownerTag)
	})
	id := owner
	if armed {
		if tags = append(tags, armedTag); owner != "" {
			tags = append(tags, ownerTag+owner)
		}
		id = vg.armedSystemID()
	}
	vg.tags = tags
	e.set("tags", listOrNone(tags))
	e.setSystemID(id)
	e.setWritable(!armed)
}

// AddRedoLog asks for a redo log.
type AddRedoLog struct {
	Size     uint64   // of each replica, in sectors; 0 for 8 MiB
	Replicas int      // 0 for 1; each is on a physical volume of its own
	PVs      []string // where, as in CreateLV
}

// AddRedoLog gives the group hidden volumes for a redo log. What the extents held before must be overwritten before the
// group is committed.
func (vg *VG) AddRedoLog(env Env, r AddRedoLog) (*VG, Operation, error) {
	if len(vg.RedoLogs()) > 0 {
		return nil, Operation{}, refuse(ErrNoChange, "Volume group \"%s\" already has a redo log.", vg.name)
	}
	if r.Size == 0 {
		r.Size = 8 << 20 / SectorSize
	}
	if r.Replicas = max(r.Replicas, 1); r.Replicas > MaxRedoLogs {
		return nil, Operation{}, refuse(ErrInvalid, "A redo log has at most %d replicas.", MaxRedoLogs)
	}
	after := vg
	var ops []Operation
	taken := map[string]bool{}
	for i := range r.Replicas {
		pvs := r.PVs
		if len(taken) > 0 || len(pvs) == 0 && r.Replicas > 1 {
			pvs = nil
			for _, pv := range vg.pvs {
				if !taken[pv.Key] && pv.Allocatable() && !pv.Missing() && (len(r.PVs) == 0 || onDevice(r.PVs, pv.Device)) {
					pvs = append(pvs, pv.Device)
				}
			}
			if len(pvs) == 0 {
				return nil, Operation{}, refuse(ErrNoSpace, "No physical volume of \"%s\" is left for replica %d of the redo log.",
					vg.name, i+1)
			}
		}
		next, op, err := after.CreateLV(env, CreateLV{
			Name: redoLogName(i), Size: Sectors(r.Size), PVs: pvs, Hidden: true, Reserved: true,
			Tags: []string{RedoLogTag}, Allocation: AllocContiguous,
		})
		if err != nil {
			return nil, Operation{}, err
		}
		for _, a := range next.LV(redoLogName(i)).Segments[0].Stripes {
			taken[a.PV] = true
		}
		after, ops = next, append(ops, op)
	}
	return vg.Join(ops...)
}

// onDevice reports whether one of the places that a user named is on a device.
func onDevice(places []string, device string) bool {
	return slices.ContainsFunc(places, func(p string) bool { return p == device || strings.HasPrefix(p, device+":") })
}

// RemoveRedoLog takes the redo log's volumes away. The group must not be armed.
func (vg *VG) RemoveRedoLog() (*VG, Operation, error) {
	logs := vg.RedoLogs()
	switch {
	case len(logs) == 0:
		return nil, Operation{}, refuse(ErrNoChange, "Volume group \"%s\" has no redo log.", vg.name)
	case vg.Armed():
		return nil, Operation{}, refuse(ErrReadOnly, "Volume group \"%s\" has changes in its redo log; fold them with mlvm sync %s.",
			vg.name, vg.name)
	}
	e := vg.edit()
	for _, lv := range logs {
		e.remove(lv)
	}
	return e.done()
}
