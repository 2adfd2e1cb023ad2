package lvm

import (
	"errors"
	"fmt"

	"morgana/lvm/metadata"
	"morgana/lvm/redo"
)

// FoundLog is what a scan found of a group's redo log.
type FoundLog struct {
	// Armed says that the text on the disks keeps LVM2 away, because the log may have more.
	Armed bool
	// Pending is how many changes the text lacks.
	Pending int
	// Err is why the log does not go with the text. Then the group is shown as the text has it, and can be opened for
	// reading only, until DiscardLog.
	Err error
	// Text is the group as the text has it, armed if it is.
	Text *metadata.VG

	log *redo.Log
}

// LogRecord is a change in a redo log.
type LogRecord struct {
	Position  string
	Seqno     uint64
	Payload   []byte
	Operation metadata.Operation
	Err       error // why the payload is not understood
	Pending   bool  // no text has it
}

// Load reads the log of a group that is not armed. Opening the group for changes does so too.
func (l *FoundLog) Load(g *FoundGroup) {
	if l.log != nil || l.Armed || l.Err != nil {
		return
	}
	// Nothing should be pending. If something is, the text is an old one that somebody restored.
	switch _, err := l.open(g); {
	case errors.Is(err, redo.ErrBrokenLineage):
		if l.log != nil && l.log.Group() == l.Text.ID() {
			l.Err = err
		} else {
			l.log = nil
		}
	case err != nil:
		l.log = nil // it is made anew when it is needed
	}
}

// Records are the changes that the log still has, pending or not, the oldest first.
func (l *FoundLog) Records() []LogRecord {
	if l.log == nil {
		return nil
	}
	all := l.log.All()
	out := make([]LogRecord, len(all))
	for i, r := range all {
		out[i] = LogRecord{Position: r.Position.String(), Seqno: r.Seqno, Payload: r.Payload}
		out[i].Operation, out[i].Err = metadata.ParseOperation(r.Payload)
		out[i].Pending = l.Err != nil || i >= len(all)-l.Pending
	}
	return out
}

// readLog looks at the redo log of a group whose text is known. Where the log has changes that the text lacks, the
// group becomes what it is with them.
func (inv *Inventory) readLog(g *FoundGroup) {
	vg := g.VG
	armed := vg.Armed()
	if !armed && len(vg.RedoLogs()) == 0 {
		return
	}
	l := &FoundLog{Armed: armed, Text: vg}
	g.Log = l
	if !armed {
		return // all that matters is in the text; who opens it for changes looks at the log
	}
	g.VG = vg.WithLogState(vg.LogPosition(), false, vg.Seqno())
	records, err := l.open(g)
	if err == nil {
		err = l.replay(g, records)
	}
	if err != nil {
		l.Err = err
		inv.problem(g.Name, fmt.Errorf("%w: %w", ErrLog, err), logRemedy(g.Name))
	}
}

// ErrLog says that a group's redo log cannot be used.
var ErrLog = errors.New("the redo log is unusable")

func logRemedy(name string) string {
	return fmt.Sprintf("see mlvm log show %s; keep a copy with mlvm log export %s; mlvm log discard %s goes on without it", name, name, name)
}

// open reads the log and returns what the text lacks.
func (l *FoundLog) open(g *FoundGroup) ([]redo.Record, error) {
	devs, err := logDevices(l.Text, g.Members)
	if err != nil {
		return nil, err
	}
	if l.log, err = redo.Open(devs...); err != nil {
		return nil, err
	}
	if l.log.Group() != l.Text.ID() {
		return nil, fmt.Errorf("%w: it belongs to the group %s", redo.ErrBrokenLineage, metadata.UUID(l.log.Group()))
	}
	var at redo.Position
	if p := l.Text.LogPosition(); p != "" {
		if at, err = redo.ParsePosition(p); err != nil {
			return nil, err
		}
	}
	return l.log.Lineage(at, uint64(l.Text.Seqno()), l.Armed)
}

// replay makes the group what it is with the log's changes.
func (l *FoundLog) replay(g *FoundGroup, records []redo.Record) error {
	vg := g.VG
	for _, r := range records {
		op, err := metadata.ParseOperation(r.Payload)
		if err == nil {
			vg, err = vg.Replay(op)
		}
		if err != nil {
			return fmt.Errorf("change %d: %w", r.Seqno, err)
		}
	}
	g.VG, l.Pending = vg, len(records)
	return nil
}

// openLog makes the redo log of a group ready for changes.
func (g *Group) openLog(f *FoundGroup, o OpenOptions) error {
	l := f.Log
	if l == nil || o.Mode != ReadWrite {
		return nil
	}
	l.Load(f)
	if l.Err != nil {
		return refuse(ErrLog, "Cannot change VG %s: %v: %v\nSee mlvm log show %s; keep a copy with mlvm log export %s; "+
			"mlvm log discard %s goes on without it.", f.Name, ErrLog, l.Err, f.Name, f.Name, f.Name)
	}
	log := l.log
	if log != nil {
		if err := log.Resume(); err != nil {
			return g.fail("open its redo log", err)
		}
	}
	g.log = newRedoLog(g, o.Redo, log, l.Armed)
	return nil
}
