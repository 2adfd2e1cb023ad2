package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/urfave/cli/v2"

	"morgana/cmd/xs/internal/show"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// errQuiet says no with the exit status alone.
var errQuiet = errors.New("no")

func dial(c *cli.Context) (*xenstore.Client, error) {
	if p := c.String("socket"); p != "" {
		return xenstore.DialPath(c.Context, p)
	}
	return xenstore.Dial(c.Context)
}

func want(c *cli.Context, ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: xs %s %s", errUsage, c.Command.Name, c.Command.ArgsUsage)
}

// within connects and runs f in a transaction, again as long as it meets conflicts. What f prints appears once.
func within(c *cli.Context, ok bool, f func(t *xenstore.Tree, out *strings.Builder) error) error {
	if err := want(c, ok); err != nil {
		return err
	}
	client, err := dial(c)
	if err != nil {
		return err
	}
	defer client.Close()
	var out strings.Builder
	err = client.Transact(c.Context, func(tx *xenstore.Tx) error {
		out.Reset()
		return f(&tx.Tree, &out)
	})
	_, werr := os.Stdout.WriteString(out.String()) // what was found before something failed, too
	return errors.Join(err, werr)
}

// inJSON reports whether --json was said, before the command or after it.
func inJSON(c *cli.Context) bool {
	for _, at := range c.Lineage() {
		if at.Bool("json") {
			return true
		}
	}
	return false
}

// asJSON appends a value as JSON, a line.
func asJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func read(c *cli.Context) error {
	return within(c, c.NArg() > 0, func(t *xenstore.Tree, out *strings.Builder) error {
		var all []show.Node
		for _, p := range c.Args().Slice() {
			v, err := t.Read(c.Context, p)
			if err != nil {
				return err
			}
			if inJSON(c) {
				all = append(all, show.Node{Path: p, Value: show.ValueOf(v)})
				continue
			}
			if c.Bool("prefix") {
				out.WriteString(p + ": ")
			}
			if c.Bool("raw") {
				out.WriteString(v)
			} else {
				out.WriteString(show.Escape(v) + "\n")
			}
		}
		if all != nil {
			return asJSON(out, all)
		}
		return nil
	})
}

func write(c *cli.Context) error {
	args := c.Args().Slice()
	return within(c, len(args) > 0 && len(args)%2 == 0, func(t *xenstore.Tree, _ *strings.Builder) error {
		for i := 0; i < len(args); i += 2 {
			v := args[i+1]
			if !c.Bool("raw") {
				v = show.Unescape(v)
			}
			if err := t.Write(c.Context, args[i], v); err != nil {
				return err
			}
		}
		return nil
	})
}

func list(c *cli.Context) error {
	return within(c, c.NArg() > 0, func(t *xenstore.Tree, out *strings.Builder) error {
		all := map[string][]string{}
		for _, p := range c.Args().Slice() {
			names, err := t.List(c.Context, p)
			if err != nil {
				return err
			}
			if inJSON(c) {
				if names == nil {
					names = []string{}
				}
				all[p] = names
				continue
			}
			for _, n := range names {
				if c.Bool("prefix") {
					out.WriteString(p + "/")
				}
				out.WriteString(n + "\n")
			}
		}
		if inJSON(c) {
			return asJSON(out, all)
		}
		return nil
	})
}

// listing runs a lister on the paths, "/" if there are none.
func listing(c *cli.Context, l show.Lister) error {
	client, err := dial(c)
	if err != nil {
		return err
	}
	defer client.Close()
	out := bufio.NewWriter(os.Stdout)
	l.Out, l.Store = out, &client.Tree
	paths := c.Args().Slice()
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, p := range paths {
		if inJSON(c) {
			n, err := show.Nodes(c.Context, l.Store, p, l.Perms)
			if err == nil {
				err = asJSON(out, n)
			}
			if err != nil {
				return errors.Join(err, out.Flush())
			}
			continue
		}
		if l.Branch {
			fmt.Fprintln(out, p)
		}
		if err := l.List(c.Context, p); err != nil {
			return errors.Join(err, out.Flush())
		}
	}
	return out.Flush()
}

func ls(c *cli.Context) error {
	return listing(c, show.Lister{Flat: c.Bool("flat"), Perms: c.Bool("perms"), Width: width()})
}

func tree(c *cli.Context) error {
	colour := terminal()
	switch v := c.String("colour"); v {
	case "auto":
	case "always", "never":
		colour = v == "always"
	default:
		return fmt.Errorf("%w: --colour %q: want auto, always or never", errUsage, v)
	}
	return listing(c, show.Lister{Branch: true, Perms: c.Bool("perms"), Colour: colour})
}

func remove(c *cli.Context) error {
	return within(c, c.NArg() > 0, func(t *xenstore.Tree, _ *strings.Builder) error {
		for _, p := range c.Args().Slice() {
			if err := t.Remove(c.Context, p); err != nil {
				return err
			}
			for c.Bool("tidy") && strings.LastIndexByte(p, '/') > 0 {
				p = xs.Parent(p)
				v, err := t.Read(c.Context, p)
				if err != nil {
					return err
				}
				names, err := t.List(c.Context, p)
				if err != nil {
					return err
				}
				if v != "" || len(names) > 0 {
					break
				}
				if err := t.Remove(c.Context, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func exists(c *cli.Context) error {
	return within(c, c.NArg() > 0, func(t *xenstore.Tree, out *strings.Builder) error {
		all := map[string]bool{}
		missing := false
		for _, p := range c.Args().Slice() {
			ok, err := t.Exists(c.Context, p)
			if err != nil {
				return err
			}
			all[p] = ok
			missing = missing || !ok
		}
		if inJSON(c) {
			if err := asJSON(out, all); err != nil {
				return err
			}
		}
		if missing {
			return errQuiet
		}
		return nil
	})
}

func chmod(c *cli.Context) error {
	args := c.Args().Slice()
	var perms []xs.Perm
	for i := 1; i < len(args); i++ {
		p, err := xs.ParsePerm(args[i])
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		perms = append(perms, p)
	}
	return within(c, len(perms) > 0, func(t *xenstore.Tree, _ *strings.Builder) error {
		if c.Bool("upto") {
			for p := xs.Parent(args[0]); p != "/"; p = xs.Parent(p) {
				if err := t.SetPerms(c.Context, p, perms...); err != nil {
					return err
				}
			}
		}
		return setPerms(c.Context, t, args[0], perms, c.Bool("recurse"))
	})
}

func setPerms(ctx context.Context, t *xenstore.Tree, path string, perms []xs.Perm, recurse bool) error {
	if err := t.SetPerms(ctx, path, perms...); err != nil || !recurse {
		return err
	}
	names, err := t.List(ctx, path)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := setPerms(ctx, t, xenstore.Join(path, n), perms, true); err != nil {
			return err
		}
	}
	return nil
}

func watch(c *cli.Context) error {
	if err := want(c, c.NArg() > 0); err != nil {
		return err
	}
	client, err := xenstore.Open(c.Context, xenstore.Options{Path: c.String("socket"), Lost: xenstore.Wait})
	if err != nil {
		return err
	}
	defer client.Close()
	w, err := client.Watch(c.Context, c.Args().Slice()...)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		e, err := w.Next(c.Context)
		if err != nil {
			return err
		}
		if err := event(c, client, e); err != nil {
			return err
		}
		if n == c.Int("number") {
			return nil
		}
	}
}

// event prints an event.
func event(c *cli.Context, client *xenstore.Client, e xenstore.Event) error {
	if e.Lost && !inJSON(c) {
		fmt.Fprintf(os.Stderr, "xs: the daemon was away: events of %s may be lost\n", e.Watched)
	}
	line := e.Path
	what := struct {
		Path    string `json:"path"`
		Watched string `json:"watched"`
		Lost    bool   `json:"lost,omitempty"`
		Gone    bool   `json:"gone,omitempty"`
		show.Value
	}{Path: e.Path, Watched: e.Watched, Lost: e.Lost}
	if c.Bool("values") {
		if v, err := client.Read(c.Context, e.Path); err == nil {
			what.Value = show.ValueOf(v)
			line += " = " + show.Escape(v)
		} else if errors.Is(err, xenstore.ErrNotExist) {
			what.Gone = true
			line += " is gone"
		}
	}
	if inJSON(c) {
		return asJSON(os.Stdout, what)
	}
	_, err := fmt.Println(line)
	return err
}

func control(c *cli.Context) error {
	if err := want(c, c.NArg() > 0); err != nil {
		return err
	}
	return say(c, c.Args().Slice()...)
}

func stats(c *cli.Context) error {
	if !inJSON(c) {
		return say(c, "stats")
	}
	client, err := dial(c)
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := client.Control(c.Context, "stats")
	if err != nil {
		return err
	}
	all := map[string]uint64{}
	for line := range strings.Lines(s) {
		var name string
		var n uint64
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			return fmt.Errorf("stats: %q: %w", line, err)
		}
		all[name] = n
	}
	return asJSON(os.Stdout, all)
}

func say(c *cli.Context, args ...string) error {
	client, err := dial(c)
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := client.Control(c.Context, args...)
	if err != nil {
		return err
	}
	fmt.Println(strings.TrimSuffix(s, "\n"))
	return nil
}

func historyFlags(more ...cli.Flag) []cli.Flag {
	return append(more, &cli.StringFlag{
		Name: "history", EnvVars: []string{"XENSTORED_HISTORY"}, Value: "/var/lib/xenstored/history", Usage: "the daemon's history `DIR`",
	})
}

// history shows the daemon's history with git, of which it is a repository.
func history(what string) cli.ActionFunc {
	return func(c *cli.Context) error {
		args := []string{"-C", c.String("history"), "-c", "safe.directory=*", "--no-pager", what}
		if what == "log" {
			if inJSON(c) { // none of it can hold a quotation mark
				args = append(args, `--format={"commit":"%H","time":"%aI","author":"%an","subject":"%s"}`, "main")
			} else {
				args = append(args, "--date=iso", "--format=%C(auto)%h %ad %an  %s", "--stat=80", "main")
			}
			if n := c.Int("number"); n > 0 {
				args = append(args, fmt.Sprintf("-n%d", n))
			}
		}
		revisions, paths := c.Args().Slice(), []string{"--"}
		for len(revisions) > 0 && strings.HasPrefix(revisions[len(revisions)-1], "/") {
			last := len(revisions) - 1
			paths = append(paths, "."+revisions[last])
			revisions = revisions[:last]
		}
		if what == "diff" && len(revisions) == 0 {
			revisions = []string{"main~1", "main"}
		} else if what == "diff" && len(revisions) == 1 {
			revisions = append(revisions, "main")
		}
		git := exec.CommandContext(c.Context, "git", append(append(args, revisions...), paths...)...)
		git.Stdout, git.Stderr = os.Stdout, os.Stderr
		if err := git.Run(); err != nil {
			return fmt.Errorf("history in %s: %w (does the daemon run with --history?)", c.String("history"), err)
		}
		return nil
	}
}
