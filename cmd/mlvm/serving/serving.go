// Package serving is volumes that are in use while commands change their groups: what a program has that is a volume
// manager and a block backend at once, such as the storage domain.
//
// The program opens the disks and has them for itself. Commands are mlvm's own, carried out on groups that stay open:
// with a redo log one takes as long with ten thousand volumes as with one. None of them can take away or shrink a
// volume that is open here, or move its extents; one that grows is handed over anew. Commands that want a group for
// themselves, such as pvmove or vgremove, are refused.
package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"morgana/block"
	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/verbs"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/table"
)

// Options say how groups are opened.
type Options struct {
	// RedoLog gives each group a redo log, where there is room for one.
	RedoLog bool
	// Words gets warnings about groups and disks, indented as mlvm's are. Nil: nobody does.
	Words io.Writer
}

// Volumes are the volumes of all groups on some disks. Safe for concurrent use.
type Volumes struct {
	verbs []command.Verb
	words io.Writer

	mu      sync.Mutex
	res     command.Resident
	open    map[*Volume]struct{}
	changed map[metadata.UUID]*metadata.VG // by the command under way
}

// New makes volumes of disks, which stay the caller's. It reads nothing.
func New(disks []lvm.Disk, o Options) *Volumes {
	v := &Volumes{verbs: verbs.All(), words: o.Words, open: make(map[*Volume]struct{}), changed: make(map[metadata.UUID]*metadata.VG)}
	if v.words == nil {
		v.words = io.Discard
	}
	v.res = command.Resident{Disks: disks, RedoLog: o.RedoLog, Check: v.check, Changed: func(vg *metadata.VG) { v.changed[vg.ID()] = vg }}
	return v
}

// system is what commands run in.
func (v *Volumes) system(args []string, stdout, stderr io.Writer) command.System {
	s := command.System{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Args: args,
		Getenv: func(string) string { return "" },
	}
	return s.With(&v.res)
}

// Start opens all groups and returns their names. A group that cannot be opened keeps none of the others: the error has
// one for each.
func (v *Volumes) Start(ctx context.Context) (names []string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.system(nil, io.Discard, v.words)
	all, err := v.res.Groups(ctx, s)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range all {
		if _, err := v.res.Group(ctx, s, name); err != nil {
			errs = append(errs, fmt.Errorf("volume group %q: %w", name, err))
			continue
		}
		names = append(names, name)
	}
	return names, errors.Join(errs...)
}

// Close folds redo logs and gives the groups up, so that LVM2 may have them. Volumes that are open stay so.
func (v *Volumes) Close(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.res.Close(ctx)
}

// Volume is an open volume.
type Volume struct {
	// LV is the volume as it was opened.
	LV *lvm.LV

	v     *Volumes
	group metadata.UUID
	id    metadata.UUID
	size  int64
	grew  func(ctx context.Context, lv *lvm.LV) error
}

// Open opens a volume by the names of its group and itself: "vg0/web1", or "/dev/vg0/web1". grew is called with the
// volume opened anew when a command made it larger, before the command ends; its error is told to whoever gave the
// command.
func (v *Volumes) Open(ctx context.Context, name string, readOnly bool, grew func(ctx context.Context, lv *lvm.LV) error) (*Volume, error) {
	group, lvName, ok := strings.Cut(strings.TrimPrefix(name, "/dev/"), "/")
	if !ok || group == "" || lvName == "" || strings.Contains(lvName, "/") {
		return nil, fmt.Errorf("%.100q is no volume: its group and name are wanted, as in vg0/web1", name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	g, err := v.res.Group(ctx, v.system(nil, io.Discard, v.words), group)
	if err != nil {
		return nil, err
	}
	vg := g.VG()
	lv := vg.LV(lvName)
	if lv == nil {
		return nil, fmt.Errorf("no volume %q in group %q", lvName, group)
	}
	x := &Volume{v: v, group: vg.ID(), id: lv.ID, grew: grew}
	if x.LV, err = lvm.OpenVolume(vg, lvName, v.disks(vg), readOnly); err != nil {
		return nil, err
	}
	x.size = x.LV.Size()
	v.open[x] = struct{}{}
	return x, nil
}

// Close lets commands have the volume. Who uses its LV has ended before.
func (x *Volume) Close() {
	x.v.mu.Lock()
	defer x.v.mu.Unlock()
	delete(x.v.open, x)
}

// disks are the devices of a group's physical volumes.
func (v *Volumes) disks(vg *metadata.VG) map[metadata.UUID]block.Device {
	m := make(map[metadata.UUID]block.Device)
	for _, pv := range vg.PVs() {
		for _, d := range v.res.Disks {
			if d.Name == pv.Device {
				m[pv.ID] = d.Device
			}
		}
	}
	return m
}

// Run carries out a command line, such as "lvcreate -L1g -nweb1 vg0", and returns its exit code. Questions are answered
// with no: --yes is wanted where there are some.
func (v *Volumes) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, "  No command.")
		return command.ExitNoVerb
	}
	code, grown := v.run(ctx, args, stdout, stderr)
	for _, g := range grown {
		if err := g.x.grew(ctx, g.lv); err != nil {
			fmt.Fprintf(stderr, "  WARNING: %s: whoever uses it does not know its new size yet: %v\n", g.lv.Name(), err)
		}
	}
	return code
}

// grown is a volume and what it has become.
type grown struct {
	x  *Volume
	lv *lvm.LV
}

func (v *Volumes) run(ctx context.Context, args []string, stdout, stderr io.Writer) (int, []grown) {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.changed)
	code := command.Main(ctx, v.system(args[1:], stdout, stderr), v.verbs, args[0])
	var all []grown
	for x := range v.open {
		vg := v.changed[x.group]
		if vg == nil {
			continue
		}
		lv := vg.LVByID(x.id)
		if lv == nil || int64(vg.Size(lv))*metadata.SectorSize == x.size {
			continue
		}
		dev, err := lvm.OpenVolume(vg, lv.Name, v.disks(vg), x.LV.ReadOnly())
		if err != nil {
			fmt.Fprintf(stderr, "  WARNING: %v\n", err)
			continue
		}
		x.size = dev.Size()
		all = append(all, grown{x, dev})
	}
	return code, all
}

// check refuses a change that takes from a volume that is open.
func (v *Volumes) check(before, after *metadata.VG) error {
	for x := range v.open {
		if x.group != before.ID() {
			continue
		}
		was := before.LVByID(x.id)
		if was == nil {
			continue
		}
		is := after.LVByID(x.id)
		if is == nil {
			//lint:ignore ST1005 LVM2's words
			return fmt.Errorf("Logical volume %s/%s in use.", before.Name(), was.Name)
		}
		if err := keeps(before, was, after, is); err != nil {
			//lint:ignore ST1005 LVM2's words
			return fmt.Errorf("Logical volume %s/%s in use: %w", before.Name(), was.Name, err)
		}
	}
	return nil
}

var errMoves = errors.New("it can grow, and nothing else; detach it for that")

// keeps reports an error unless all that a volume has stays where it is.
func keeps(before *metadata.VG, was *metadata.LV, after *metadata.VG, is *metadata.LV) error {
	old, err := table.Of(before, was)
	if err != nil {
		return err
	}
	now, err := table.Of(after, is)
	if err != nil {
		return err
	}
	if len(now) < len(old) {
		return errMoves
	}
	for i, o := range old {
		n := now[i]
		longer := i == len(old)-1 && n.Length > o.Length
		if n.Start != o.Start || n.Kind != o.Kind || n.StripeSize != o.StripeSize || n.Length != o.Length && !longer {
			return errMoves
		}
		if !slices.EqualFunc(n.Areas, o.Areas, func(a, b table.Area) bool { return a.PV.ID == b.PV.ID && a.Offset == b.Offset }) {
			return errMoves
		}
	}
	return nil
}
