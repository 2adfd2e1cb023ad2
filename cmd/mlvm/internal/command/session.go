package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"morgana/block/file"
	"morgana/cmd/mlvm/internal/backup"
	"morgana/cmd/mlvm/internal/devices"
	"morgana/cmd/mlvm/internal/locks"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

// Need says what a command is going to do, and so which locks it takes and how it opens the disks.
type Need struct {
	Write  bool
	Global bool     // it changes what is in no group: makes or removes physical volumes or groups
	Groups []string // the groups that it is about; nil stands for all that there are
	Disks  []string // disks that the command itself names
}

// session is what a run holds of the disks.
type session struct {
	opened []*file.Device
	disks  []lvm.Disk
	source string // where the list of disks comes from
	locks  *locks.Set
	groups []*lvm.Group
}

// close gives all up: groups, then locks, then disks.
func (s *session) close(ctx context.Context) error {
	var errs []error
	for _, g := range s.groups {
		errs = append(errs, g.Close(ctx))
	}
	if s.locks != nil {
		s.locks.Release()
	}
	for _, d := range s.opened {
		errs = append(errs, d.Close())
	}
	*s = session{}
	return errors.Join(errs...)
}

// Scan locks and opens the disks that the command may look at, and finds what is on them. What is wrong with a disk is
// said on standard error.
func (r *Run) Scan(ctx context.Context, n Need) (*lvm.Inventory, error) {
	if r.kept != nil && r.kept.resident != nil && (n.Global || r.Has("devices") || r.Has("devicesfile")) {
		return nil, refuseGone(r.Verb.Name)
	}
	if r.usesKept() && !n.Global {
		return r.kept.scan(ctx, r)
	}
	if r.kept != nil {
		if err := r.kept.close(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
	}
	if err := r.open(n); err != nil {
		return nil, err
	}
	if err := r.lock(ctx, n); err != nil {
		return nil, err
	}
	inv, err := lvm.Scan(ctx, r.disks, lvm.ScanOptions{})
	if err != nil {
		return nil, err
	}
	r.warnProblems(inv)
	return inv, nil
}

// open opens the disks. One that cannot be opened keeps the command from none of the others.
func (r *Run) open(n Need) error {
	list, err := devices.Find(devices.Request{
		Devices: r.All("devices"), File: r.Str("devicesfile", ""), HasFile: r.Has("devicesfile"),
		Operands: n.Disks, Getenv: r.Getenv,
	})
	if err != nil {
		return err
	}
	r.source = list.Source
	if len(list.Names) == 0 && list.Source == "" {
		//lint:ignore ST1005 a sentence for users
		return errors.New("No disks: name them with --devices A,B,… or MLVM_DEVICES=A,B,…; mlvm help devices has more.")
	}
	var opts []file.Option
	if r.kept != nil && r.kept.resident != nil {
		opts = append(opts, file.Direct()) // what is served to guests, who have caches of their own
	}
	for _, name := range list.Names {
		open := file.OpenReadOnly
		if n.Write && !r.Test() {
			open = file.Open
		}
		d, err := open(name, opts...)
		switch {
		case errors.Is(err, os.ErrNotExist) && slices.ContainsFunc(n.Disks, func(o string) bool { return devices.Same(o, name) }):
			continue // the command says so itself
		case err != nil:
			r.Warn("WARNING: %v", err)
			continue
		}
		r.opened = append(r.opened, d)
		r.disks = append(r.disks, disksOf(name, d)...)
	}
	return nil
}

// lock takes lvm2's locks, and those on plain files.
func (r *Run) lock(ctx context.Context, n Need) error {
	if r.Has("nolocking") {
		return nil
	}
	set, err := locks.New(locks.Dir(r.Getenv))
	if err != nil {
		return err
	}
	set.Waiting = func(path string) { r.Warn("Waiting for another process that has the lock %s.", path) }
	r.locks = set
	global, group := locks.Shared, locks.Shared
	if n.Global {
		global = locks.Exclusive
	}
	if n.Write {
		group = locks.Exclusive
	}
	if err := set.Global(ctx, global); err != nil {
		return err
	}
	var plain []*os.File
	for _, d := range r.opened {
		if d.Plain() {
			plain = append(plain, d.File())
		}
	}
	mode := locks.Shared
	if n.Write || n.Global {
		mode = locks.Exclusive
	}
	if err := set.Files(ctx, plain, mode); err != nil {
		return err
	}
	names := n.Groups
	if names == nil {
		names = r.peek()
	}
	for _, name := range slices.Sorted(slices.Values(names)) {
		if !validName(name) {
			continue // there is no such group
		}
		if err := set.Group(ctx, name, group); err != nil {
			return err
		}
	}
	return nil
}

func validName(s string) bool {
	return s != "" && !strings.ContainsRune(s, '/') && s != "." && s != ".."
}

// peek returns the names of the groups on the disks, so that they can be locked before they are read.
func (r *Run) peek() []string {
	var names []string
	for _, d := range r.disks {
		head := make([]byte, min(8192, d.Device.Size()))
		if _, err := d.Device.ReadAt(head, 0); err != nil {
			continue
		}
		l, err := ondisk.FindLabel(head)
		if err != nil {
			continue
		}
		for _, a := range l.Metadata {
			if name := peekArea(d, a); name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// peekArea reads the name at the begin of an area's text.
func peekArea(d lvm.Disk, a ondisk.Area) string {
	b := make([]byte, ondisk.HeaderSize)
	if _, err := d.Device.ReadAt(b, int64(a.Offset)); err != nil {
		return ""
	}
	h, err := ondisk.ParseHeader(a.Offset, b)
	if err != nil || h.Empty() {
		return ""
	}
	pieces, err := h.Pieces(h.Slots[0])
	if err != nil || len(pieces) == 0 {
		return ""
	}
	b = make([]byte, min(pieces[0].N, ondisk.SectorSize))
	if _, err := d.Device.ReadAt(b, int64(pieces[0].Offset)); err != nil {
		return ""
	}
	name, _, ok := strings.Cut(string(b), " {")
	if !ok {
		return ""
	}
	return name
}

// warnProblems says what is wrong with disks, in lvm2's words where it has some.
func (r *Run) warnProblems(inv *lvm.Inventory) {
	for _, g := range inv.Groups() {
		for _, pv := range g.Members {
			if pv.Missing() {
				r.Warn("WARNING: Couldn't find device with uuid %s.", pv.ID)
			}
		}
	}
	for _, g := range inv.Groups() {
		for _, pv := range g.Members {
			if pv.Missing() {
				r.Warn("WARNING: VG %s is missing PV %s (last written to %s).", g.Name, pv.ID, pv.Disk.Name)
			}
		}
	}
	for _, g := range inv.Groups() {
		r.warnStale(g)
	}
	for _, p := range inv.Problems() {
		var header *ondisk.HeaderError
		switch {
		case errors.Is(p, lvm.ErrMissing), errors.Is(p, lvm.ErrDuplicate), errors.Is(p, lvm.ErrOutdated):
		case errors.Is(p, lvm.ErrUnowned):
			// Other verbs are not about disks, or say it themselves.
			if strings.HasPrefix(r.Verb.Name, "pv") && !slices.Contains([]string{"pvcreate", "pvremove"}, r.Verb.Name) {
				r.Warn("WARNING: PV %s is marked in use but no VG was found using it.", p.Disk)
				r.Warn("WARNING: PV %s might need repairing.", p.Disk)
			}
		case errors.As(p, &header):
			for _, bad := range header.Bad {
				r.Warn("WARNING: %v in mda header on %s at %d", bad, p.Disk, header.Start)
			}
			r.Warn("WARNING: bad metadata header on %s at %d.", p.Disk, header.Start)
			r.Warn("WARNING: repair VG metadata on %s with vgck --updatemetadata.", p.Disk)
		default:
			r.Warn("WARNING: %s", strings.ReplaceAll(p.Error(), "\n", ", "))
		}
	}
	r.warnDuplicates(inv)
}

// warnStale says which of a group's disks missed changes, because they were not there.
func (r *Run) warnStale(g *lvm.FoundGroup) {
	for _, a := range g.Stale {
		if n := a.Seqno(); n > 0 && len(g.Current) > 0 {
			r.Warn("WARNING: ignoring metadata seqno %d on %s for seqno %d on %s for VG %s.",
				n, a.PV.Disk.Name, g.Seqno, g.Current[0].PV.Disk.Name, g.Name)
		}
	}
	for _, pv := range g.Outdated {
		if len(g.Current) > 0 {
			r.Warn("WARNING: ignoring metadata seqno %d on %s for seqno %d on %s for VG %s.",
				lastSeqno(pv), pv.Disk.Name, g.Seqno, g.Current[0].PV.Disk.Name, g.Name)
		}
	}
	if len(g.Stale)+len(g.Outdated) > 0 {
		r.Warn("WARNING: Inconsistent metadata found for VG %s.", g.Name)
		r.Warn("See vgck --updatemetadata to correct inconsistency.")
	}
	for _, pv := range g.Outdated {
		r.Warn("WARNING: outdated PV %s seqno %d has been removed in current VG %s seqno %d.", pv.Disk.Name, lastSeqno(pv), g.Name, g.Seqno)
	}
	if len(g.Outdated) > 0 {
		r.Warn("See vgck --updatemetadata to clear outdated metadata.")
	}
	if g.VG == nil {
		return
	}
	var back []*metadata.PV
	for _, pv := range g.VG.PVs() {
		if pv.Missing() && !pv.Absent {
			back = append(back, pv)
			r.Warn("WARNING: VG %s was previously updated while PV %s was missing.", g.Name, pv.Device)
		}
	}
	for _, pv := range back {
		r.Warn("WARNING: VG %s was missing PV %s %s.", g.Name, pv.Device, pv.ID)
	}
}

func lastSeqno(pv *lvm.PhysicalVolume) uint32 {
	var n uint32
	for _, a := range pv.Areas {
		n = max(n, a.Seqno())
	}
	return n
}

// warnDuplicates says which of the disks with the same identity is taken.
func (r *Run) warnDuplicates(inv *lvm.Inventory) {
	for _, pv := range inv.PVs() {
		if pv.Duplicate {
			r.Warn("WARNING: Not using device %s for PV %s.", pv.Disk.Name, pv.ID)
		}
	}
	for _, pv := range inv.PVs() {
		if taken := inv.PVByID(pv.ID); pv.Duplicate && taken != nil {
			r.Warn("WARNING: PV %s prefers device %s because device was seen first.", pv.ID, taken.Disk.Name)
		}
	}
}

// Disk returns the disk that a name means, if it is one of those that the command may use.
func (r *Run) Disk(name string) (lvm.Disk, bool) {
	for _, d := range r.disks {
		if d.Name == name {
			return d, true
		}
	}
	for _, d := range r.disks {
		if devices.Same(d.Name, name) {
			return d, true
		}
	}
	return lvm.Disk{}, false
}

// NotOurs refuses to write into a file that is one of the disks the command has open, whole or as the image around a
// partition: what is there would be lost.
func (r *Run) NotOurs(name string) error {
	for _, d := range r.opened {
		if devices.Same(d.File().Name(), name) {
			return r.Failed("%s is one of the disks in use; it is not overwritten. Name another file.", name)
		}
	}
	return nil
}

// NoDisk says why a name is not that of a usable disk.
func (r *Run) NoDisk(name string) error {
	if _, err := os.Stat(name); err == nil && r.source != "" {
		return r.Failed("Cannot use %s: device is not in %s", name, r.source)
	}
	return r.Failed("Cannot use %s: device not found", name)
}

// OpenNamed finds the group of a name among the disks and opens it for changes.
func (r *Run) OpenNamed(ctx context.Context, name string) (*lvm.Group, error) {
	inv, err := r.Scan(ctx, Need{Write: true, Groups: []string{name}})
	if err != nil {
		return nil, err
	}
	if _, err := r.Found(inv, name); err != nil {
		return nil, err
	}
	return r.Open(inv, name, 0)
}

// Open opens a group for changes, unless the command only tests.
func (r *Run) Open(inv *lvm.Inventory, name string, allow lvm.Allow) (*lvm.Group, error) {
	return r.openWith(inv, name, lvm.OpenOptions{Mode: lvm.ReadWrite, Allow: allow, SystemIDs: r.SystemIDs(), Stamp: r.Stamp, Redo: r.RedoOptions()})
}

// RedoOptions are for groups that keep a redo log: what is pending stays there for the next command.
func (r *Run) RedoOptions() lvm.RedoOptions { return lvm.RedoOptions{KeepPending: true} }

// Held returns the group of that name that the run has open, nil if there is none.
func (r *Run) Held(name string) *lvm.Group {
	for _, g := range r.groups {
		if g.VG().Name() == name {
			return g
		}
	}
	return nil
}

// OpenReadOnly opens a group to look at it.
func (r *Run) OpenReadOnly(inv *lvm.Inventory, name string, allow lvm.Allow) (*lvm.Group, error) {
	return r.openWith(inv, name, lvm.OpenOptions{Allow: allow, SystemIDs: r.SystemIDs()})
}

func (r *Run) openWith(inv *lvm.Inventory, name string, o lvm.OpenOptions) (*lvm.Group, error) {
	if r.kept != nil && inv == r.kept.inv && o.Mode == lvm.ReadWrite {
		return r.kept.open(inv, name, o)
	}
	g, err := inv.Open(name, o)
	if errors.Is(err, lvm.ErrMissing) {
		_ = r.Fail(err)
		return nil, r.Failed("Cannot process volume group %s", vgName(inv, name))
	}
	if err != nil {
		return nil, err
	}
	r.groups = append(r.groups, g)
	return g, nil
}

func vgName(inv *lvm.Inventory, name string) string {
	if f, err := inv.Group(name); err == nil {
		return f.Name
	}
	return name
}

// SystemIDs are the names under which this machine owns groups. lvm2 has none unless lvm.conf says so.
func (r *Run) SystemIDs() []string {
	if id := r.Getenv("MLVM_SYSTEM_ID"); id != "" {
		return []string{id}
	}
	return nil
}

// Env is what requests take from the machine.
func (r *Run) Env() metadata.Env {
	return metadata.Env{Rand: rand.Reader, Now: time.Now().Unix(), Host: host()}
}

func host() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// Stamp says who writes, when and why.
func (r *Run) Stamp() metadata.Stamp {
	s := metadata.Stamp{
		Generator: Version, Description: "Write from " + r.CommandLine() + ".",
		Host: host(), Time: time.Now().Unix(),
	}
	if ids := r.SystemIDs(); len(ids) > 0 {
		s.SystemID = ids[0]
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		s.System = strings.Join([]string{
			unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Release[:]),
			unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Machine[:]),
		}, " ")
	}
	return s
}

// Commit makes a change, with an archive of what was before and a backup of what is then. With --test nothing happens.
func (r *Run) Commit(ctx context.Context, g *lvm.Group, after *metadata.VG, op metadata.Operation, join ...*lvm.PhysicalVolume) error {
	if r.Test() {
		return nil
	}
	if r.kept != nil {
		if err := r.kept.check(g.VG(), after); err != nil {
			return err
		}
		defer r.kept.note(g)
	}
	logged := g.Armed()
	if !logged {
		// What goes into a redo log is not archived: a file of the whole group would cost far more than the change. It
		// is when the log is folded.
		if err := r.Archive(g.VG()); err != nil {
			return err
		}
	}
	known := len(g.Warnings)
	if err := g.Commit(ctx, after, op, join...); err != nil {
		return err
	}
	for _, w := range g.Warnings[known:] {
		r.Warn("WARNING: %v", w)
	}
	if !logged || !g.Armed() {
		r.Backup(g.VG())
	}
	return nil
}

// Archive keeps a group's state before a change. A group that is not archived is not changed, as with lvm2.
func (r *Run) Archive(vg *metadata.VG) error {
	if !r.keeps() {
		return nil
	}
	if err := r.Store().Archive(vg, r.CommandLine(), r.Stamp()); err != nil {
		return fmt.Errorf("%w; make room for archives, name another place with MLVM_SYSTEM_DIR, or use --autobackup n", err)
	}
	return nil
}

// Backup keeps a group's state after a change. The change is made; what goes wrong now is only said.
func (r *Run) Backup(vg *metadata.VG) {
	if !r.keeps() {
		return
	}
	if err := r.Store().Backup(vg, r.CommandLine(), r.Stamp()); err != nil {
		r.Warn("Backup of volume group %s metadata failed.", vg.Name())
		r.Warn("%v", err)
	}
}

// keeps reports whether there are archives and backups. A domain that serves volumes has no place for them.
func (r *Run) keeps() bool {
	return r.Yes("autobackup", true) && !r.Test() && (r.kept == nil || r.kept.resident == nil)
}

// Store is where backups and archives are.
func (r *Run) Store() backup.Store { return backup.Dirs(r.Getenv) }

// Hold closes a group at the end of the run.
func (r *Run) Hold(g *lvm.Group) { r.groups = append(r.groups, g) }

// Where makes disks with ranges of extents, as users write them, the names that the metadata know: "./a.img:0-9" may be
// "a.img:0-9". Tags stay as they are.
func (r *Run) Where(operands []string) []string {
	var list []string
	for _, o := range operands {
		name, ranges := o, ""
		if d, ok := r.Disk(o); ok {
			name = d.Name
		} else if head, tail, found := strings.Cut(o, ":"); found {
			name, ranges = head, ":"+tail
			if d, ok := r.Disk(head); ok {
				name = d.Name
			}
		}
		list = append(list, name+ranges)
	}
	return list
}

// Around does something to a group that Commit alone does not: with an archive before and a backup after, and with
// --test not at all.
func (r *Run) Around(g *lvm.Group, do func() error) error {
	if r.Test() {
		return nil
	}
	if err := r.Archive(g.VG()); err != nil {
		return err
	}
	if r.kept != nil {
		defer r.kept.note(g)
	}
	known := len(g.Warnings)
	if err := do(); err != nil {
		return err
	}
	for _, w := range g.Warnings[known:] {
		r.Warn("WARNING: %v", w)
	}
	r.Backup(g.VG())
	return nil
}
