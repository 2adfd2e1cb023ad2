package verbs

import (
	"strings"

	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/report"
)

// selection is what --select of a verb that changes something selects.
type selection struct {
	r   *command.Run
	set report.Settings
}

// selector is nil without --select. The criteria are checked at once.
func selector(r *command.Run) (*selection, error) {
	if !r.Has("select") {
		return nil, nil
	}
	set, err := settings(r)
	if err != nil {
		return nil, err
	}
	s := &selection{r, set}
	kind := report.VGs
	if strings.HasPrefix(r.Verb.Name, "lv") {
		kind = report.LVs
	} else if strings.HasPrefix(r.Verb.Name, "pv") {
		kind = report.PVs
	}
	if _, err := s.report(kind); err != nil {
		return nil, reportError(r, err)
	}
	return s, nil
}

func (s *selection) report(kind report.Kind) (*report.Report, error) {
	return report.New(report.Spec{Kind: kind, Fields: defaults[kind][0], Select: s.r.Str("select", ""), Settings: s.set})
}

// any reports whether one of the rows that fill adds is selected.
func (s *selection) any(kind report.Kind, fill func(*report.Report)) bool {
	rep, err := s.report(kind)
	if err != nil {
		return false
	}
	fill(rep)
	return rep.Len() > 0
}

func (s *selection) group(inv *lvm.Inventory, w want) bool {
	g, disks := command.View(inv, w.found, w.vg)
	return s.any(report.VGs, func(rep *report.Report) { addGroup(s.r, rep, g, disks, want{}) })
}

func (s *selection) volume(inv *lvm.Inventory, w want, lv *metadata.LV) bool {
	g, _ := command.View(inv, w.found, w.vg)
	return s.any(report.LVs, func(rep *report.Report) { addVolume(rep, g, lv) })
}

func (s *selection) disk(d diskIn) bool {
	return s.any(report.PVs, func(rep *report.Report) { addDisk(rep, d.group, d.disk) })
}
