package verbs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// redoLogVerbs are about the redo log that a group may keep, which lvm2 does not have.
func redoLogVerbs() []command.Verb {
	return []command.Verb{
		{
			Name: "sync", Summary: "write what redo logs have into the metadata, for lvm2 to see", Usage: []string{"[VG ...]"}, Max: -1,
			Supports: "autobackup",
			Details: `A group with a redo log (vgcreate --redolog y, vgchange --redolog y) keeps changes of logical volumes in the log, which
costs the same however many volumes there are. Until sync, lvm2 refuses to change or activate the group. Without a
group, all are synced.`,
			Examples: []string{"sync", "sync vg0"},
			Run:      syncLogs,
		},
		{
			Name: "log", Summary: "look into a redo log, keep a copy of it, or go on without it",
			Usage: []string{"show VG", "export VG", "discard VG"}, Min: 2, Max: 2,
			Own: []args.Option{
				{Name: "json", Help: "show as JSON"},
				{Name: "file", Short: 'f', Kind: args.String, Help: "write the export there instead of to standard output"},
			},
			Details: `show lists the changes in a group's redo log; those with a star are not in the metadata yet. export writes them as
JSON, each with its text and its bytes. discard is for a log that does not continue the metadata, because somebody
restored a backup over them (vgcfgrestore) or because the log is damaged: the metadata count, and what only the log had
is lost.`,
			Examples: []string{"log show vg0", "log export -f vg0-log.json vg0", "log discard vg0"},
			Run:      logVerb,
		},
		{
			Name: "shell", Summary: "run commands from standard input, one in a line", Usage: []string{""},
			Details: `Disks, locks and groups stay open from one command about logical volumes to the next, so that in a group with a redo log
a change takes as long with ten thousand volumes as with one. Other programs that want to change the groups wait until
the shell ends, or until a command of another kind comes. Then redo logs are folded. Without a command at all, mlvm is
this shell. exit leaves it; the exit code is that of the last command that failed.`,
			Examples: []string{"shell < commands.txt", "shell"},
			Run: func(ctx context.Context, r *command.Run) error {
				if code := command.Shell(ctx, r); code != command.ExitOK {
					return command.Exit(code)
				}
				return nil
			},
		},
	}
}

// redoLogOptions are what vgcreate and vgchange take beyond lvm2's options.
var redoLogOptions = []args.Option{
	{Name: "redolog", Kind: args.Bool, Help: "whether to keep changes in a redo log until mlvm sync"},
	{Name: "redologsize", Kind: args.SizeMiB, Help: "size of the redo log (default 8m)"},
	{Name: "redologcopies", Kind: args.Number, Help: "on how many disks the redo log is kept (default 1)"},
}

// withRedoLog gives vgcreate and vgchange the options of the redo log.
func withRedoLog(all []command.Verb) []command.Verb {
	for i := range all {
		v := &all[i]
		if v.Name != "vgcreate" && v.Name != "vgchange" {
			continue
		}
		v.Own = append(slices.Clone(v.Own), redoLogOptions...)
		v.Details = strings.TrimSpace(v.Details + "\n" + redoLogDetails)
		v.Examples = append(slices.Clone(v.Examples), map[string]string{
			"vgcreate": "vgcreate --redolog y vg0 a.img b.img", "vgchange": "vgchange --redolog n vg0",
		}[v.Name])
		run := v.Run
		if v.Name == "vgcreate" {
			v.Run = func(ctx context.Context, r *command.Run) error {
				if err := run(ctx, r); err != nil || !r.Yes("redolog", false) || r.Test() {
					return err
				}
				return setRedoLog(ctx, r, r.Held(groupOf(r.Operands[0])))
			}
			continue
		}
		v.Run = func(ctx context.Context, r *command.Run) error {
			switch {
			case !r.Has("redolog") && (r.Has("redologsize") || r.Has("redologcopies")):
				return r.Verb.WrongUse("--redologsize and --redologcopies are for --redolog y.")
			case !r.Has("redolog"):
				return run(ctx, r)
			case slices.ContainsFunc(r.Names(), func(n string) bool { return !redoLogCompanion(n) }):
				return r.Verb.WrongUse("--redolog goes with no other change.")
			}
			return changeRedoLogs(ctx, r)
		}
	}
	return all
}

const redoLogDetails = `With --redolog y, mlvm appends changes of logical volumes to a log in a hidden volume, instead of writing all metadata
anew: a sector or two for each, whatever the number of volumes. While such changes are pending, lvm2 sees a read-only
group of another system and refuses to change or activate it; mlvm sync gives it back.`

func redoLogCompanion(option string) bool {
	return strings.HasPrefix(option, "redolog") || option == "autobackup" || slices.Contains(strings.Fields(command.Everywhere), option)
}

func groupOf(operand string) string { return strings.TrimPrefix(operand, "/dev/") }

// changeRedoLogs upgrades groups in place, or takes the log away again.
func changeRedoLogs(ctx context.Context, r *command.Run) error {
	if len(r.Operands) == 0 {
		return r.Verb.WrongUse("Name the volume groups whose redo log is to change.")
	}
	return onGroups(ctx, r, func(inv *lvm.Inventory, name string) error {
		g, err := r.Open(inv, name, 0)
		if err != nil {
			return err
		}
		if r.Test() {
			return nil
		}
		return setRedoLog(ctx, r, g)
	})
}

func setRedoLog(ctx context.Context, r *command.Run, g *lvm.Group) error {
	if err := r.Archive(g.VG()); err != nil {
		return err
	}
	var err error
	if r.Yes("redolog", false) {
		err = g.EnableLog(ctx, r.Env(), metadata.AddRedoLog{
			Size: r.Uint("redologsize", 0), Replicas: int(r.Uint("redologcopies", 1)),
		}, r.RedoOptions())
	} else {
		err = g.DisableLog(ctx)
	}
	if err != nil {
		return err
	}
	r.Backup(g.VG())
	if g.HasLog() {
		r.Print("Volume group \"%s\" keeps a redo log now", g.VG().Name())
	} else {
		r.Print("Volume group \"%s\" keeps no redo log any more", g.VG().Name())
	}
	return nil
}

// onGroups does something for each group that was named, or for all. One that fails keeps it from none of the others.
func onGroups(ctx context.Context, r *command.Run, do func(inv *lvm.Inventory, name string) error) error {
	need := command.Need{Write: true}
	for _, o := range r.Operands {
		need.Groups = append(need.Groups, groupOf(o))
	}
	inv, err := r.Scan(ctx, need)
	if err != nil {
		return err
	}
	names := need.Groups
	if len(names) == 0 {
		for _, f := range inv.Groups() {
			names = append(names, f.Name)
		}
	}
	var failed error
	for _, n := range names {
		if err := do(inv, n); err != nil {
			failed = r.Fail(err)
		}
	}
	return failed
}

func syncLogs(ctx context.Context, r *command.Run) error {
	return onGroups(ctx, r, func(inv *lvm.Inventory, name string) error {
		f, err := inv.Group(name)
		if errors.Is(err, lvm.ErrNotFound) {
			return r.Failed("Volume group \"%s\" not found", name)
		}
		if err != nil {
			return err
		}
		if f.Log == nil || !f.Log.Armed || r.Test() {
			return nil
		}
		g, err := r.Open(inv, name, lvm.AllowMissing)
		if err != nil {
			return err
		}
		pending := g.Pending()
		if err := g.Sync(ctx); err != nil {
			return err
		}
		r.Backup(g.VG())
		r.Print("Volume group \"%s\": %d changes written to the metadata", name, pending)
		return nil
	})
}

func logVerb(ctx context.Context, r *command.Run) error {
	what, name := r.Operands[0], groupOf(r.Operands[1])
	if what != "show" && what != "export" && what != "discard" {
		return r.Verb.WrongUse("log %s: no such action; it is show, export or discard.", what)
	}
	inv, err := r.Scan(ctx, command.Need{Write: what == "discard", Groups: []string{name}})
	if err != nil {
		return err
	}
	f, err := inv.Group(name)
	switch {
	case errors.Is(err, lvm.ErrNotFound):
		return r.Failed("Volume group \"%s\" not found", name)
	case err != nil:
		return err
	case f.Log == nil:
		return r.Failed("Volume group \"%s\" keeps no redo log.", name)
	}
	if what == "discard" {
		return discardLog(ctx, r, inv, name)
	}
	f.Log.Load(f)
	list := listLog(f)
	switch {
	case what == "export" && r.Has("file"):
		return writeFile(r.Str("file", ""), list)
	case what == "export" || r.Has("json"):
		return writeJSON(r.Stdout, list)
	}
	for _, c := range list.Changes {
		star := " "
		if c.Pending {
			star = "*"
		}
		fmt.Fprintf(r.Stdout, "  %s seqno %-8d %s\n", star, c.Seqno, c.What)
	}
	if list.Problem != "" {
		return r.Failed("%s", list.Problem)
	}
	pending := 0
	for _, c := range list.Changes {
		if c.Pending {
			pending++
		}
	}
	switch {
	case !list.Armed:
		r.Print("Volume group \"%s\": all changes are in the metadata, LVM2 may use it.", name)
	case pending == 0:
		// The change that armed it went into the metadata, with the barrier.
		r.Print("Volume group \"%s\": all changes are in the metadata, but LVM2 is kept out until mlvm sync %s.", name, name)
	default:
		r.Print("Volume group \"%s\": %d of the changes are not in the metadata; LVM2 is kept out until mlvm sync %s.", name, pending, name)
	}
	return nil
}

func discardLog(ctx context.Context, r *command.Run, inv *lvm.Inventory, name string) error {
	if !r.Ask("Do you really want to lose what only the redo log of %s has? [y/n]: ", name) {
		return r.Failed("Redo log of volume group \"%s\" not discarded.", name)
	}
	if r.Test() {
		return nil
	}
	err := inv.DiscardLog(ctx, name, lvm.OpenOptions{
		Mode: lvm.ReadWrite, SystemIDs: r.SystemIDs(), Stamp: r.Stamp, Redo: r.RedoOptions(),
	})
	if err != nil {
		return err
	}
	r.Print("Redo log of volume group \"%s\" discarded", name)
	return nil
}

// logListing is a redo log for people and programs.
type logListing struct {
	Group   string      `json:"vg_name"`
	Armed   bool        `json:"armed"`
	Problem string      `json:"problem,omitempty"`
	Changes []logChange `json:"changes"`
}

type logChange struct {
	Position string   `json:"position"`
	Seqno    uint64   `json:"seqno"`
	Pending  bool     `json:"pending"`
	What     string   `json:"what"`
	Put      []string `json:"put,omitempty"`    // texts of logical volumes
	Remove   []string `json:"remove,omitempty"` // uuids of logical volumes
	Bytes    string   `json:"bytes"`            // base64
}

func listLog(f *lvm.FoundGroup) logListing {
	l := logListing{Group: f.Name, Armed: f.Log.Armed, Changes: []logChange{}}
	if f.Log.Err != nil {
		l.Problem = f.Log.Err.Error()
	}
	for _, c := range f.Log.Records() {
		out := logChange{
			Position: c.Position, Seqno: c.Seqno, Pending: c.Pending, Bytes: base64.StdEncoding.EncodeToString(c.Payload),
		}
		var words []string
		for _, p := range c.Operation.PutLVs {
			words = append(words, fmt.Sprintf("%s is %d extents", p.Name, p.LV().Extents))
			out.Put = append(out.Put, string(p.Text()))
		}
		for _, id := range c.Operation.DelLVs {
			words = append(words, id.String()+" is removed")
			out.Remove = append(out.Remove, id.String())
		}
		if c.Err != nil {
			words = append(words, c.Err.Error())
		}
		out.What = strings.Join(words, ", ")
		l.Changes = append(l.Changes, out)
	}
	return l
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeFile(name string, v any) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(writeJSON(f, v), f.Sync(), f.Close())
}
