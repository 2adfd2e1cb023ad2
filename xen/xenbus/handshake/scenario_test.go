package handshake

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what happened into the scenarios")

// A scenario is lines of what others do, each followed by what our half does then, indented:
//
//	make             the tool stack makes both directories, both states 1
//	remove           it removes ours (and the frontend's, for a frontend)
//	offline          it writes online=0 and state 5, as libxl detaches
//	own N, peer N    somebody writes our state, or the peer its own
//	peer gone        the peer's directory is removed
//	pass 400ms       time goes by
//	restart          we are killed and start again
//	fail             the next connection cannot be opened (or rings be made)
//	broke            the peer breaks the protocol
//	dead             there is nothing to serve
//
// What our half does is a step and the state it leaves, or that it waits for a time.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios:", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		a := txtar.Parse(b)
		for i := range a.Files {
			f := &a.Files[i]
			t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar")+"/"+strings.ReplaceAll(f.Name, " ", "-"), func(t *testing.T) {
				w := &world{half: backHalf{&Back{Removes: !strings.Contains(name, "dom0")}}}
				if strings.HasPrefix(filepath.Base(name), "front") {
					w.half = frontHalf{&Front{}}
				}
				var out strings.Builder
				for line := range strings.Lines(string(f.Data)) {
					if strings.HasPrefix(line, "  ") {
						continue
					}
					out.WriteString(line)
					if cmd := strings.Fields(line); len(cmd) > 0 && !strings.HasPrefix(line, "#") {
						w.do(t, cmd)
						w.run(t, &out)
					}
				}
				if *update {
					f.Data = []byte(out.String())
				} else if d := cmp.Diff(string(f.Data), out.String()); d != "" {
					t.Error(d)
				}
			})
		}
		if made := txtar.Format(a); *update && !bytes.Equal(made, b) {
			if err := os.WriteFile(name, made, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// half is either of the two.
type half interface {
	next(w *world) (Step, time.Duration)
	done(w *world, s Step)
	broke()
	dead()
	again() half
}

type backHalf struct{ *Back }

func (b backHalf) next(w *world) (Step, time.Duration) {
	return b.Next(w.now, BackView{Exists: w.exists, Online: w.online, Own: w.own, Peer: w.peer})
}
func (b backHalf) done(w *world, s Step) { b.Done(w.now, s, w.own) }
func (b backHalf) broke()                { b.Broke() }
func (b backHalf) dead()                 { b.Dead() }
func (b backHalf) again() half           { return backHalf{&Back{Removes: b.Removes}} }

type frontHalf struct{ *Front }

func (f frontHalf) next(w *world) (Step, time.Duration) {
	return f.Next(w.now, FrontView{Exists: w.exists, Online: w.online, Own: w.own, Peer: w.peer, Wrote: w.wrote})
}

func (f frontHalf) done(w *world, s Step) {
	if s == Look || s == Connect {
		w.wrote = false
	}
	f.Done(w.now, s)
}
func (f frontHalf) broke()      { f.Broke() }
func (f frontHalf) dead()       {}
func (f frontHalf) again() half { return frontHalf{&Front{}} }

// world is xenstore and time.
type world struct {
	half           half
	now            time.Duration
	exists, online bool
	own, peer      State
	wrote, fail    bool
}

func (w *world) do(t *testing.T, cmd []string) {
	t.Helper()
	arg := ""
	if len(cmd) > 1 {
		arg = cmd[1]
	}
	switch cmd[0] {
	case "make":
		w.exists, w.online, w.own, w.peer = true, true, Initialising, Initialising
	case "remove":
		w.exists, w.online, w.peer = false, false, Closed
	case "offline":
		w.online = false
		if _, back := w.half.(backHalf); !back {
			w.peer, w.wrote = Closing, true
		} else if w.own != Closed {
			w.own = Closing
		}
	case "own":
		w.own = ParseState(arg)
	case "peer":
		w.wrote = true
		if w.peer = ParseState(arg); arg == "gone" {
			w.peer = Closed
			if _, front := w.half.(frontHalf); front {
				w.online = false // it was a node of the backend's
			}
		}
	case "pass":
		d, err := time.ParseDuration(arg)
		if err != nil {
			t.Fatal(err)
		}
		w.now += d
	case "restart":
		w.half = w.half.again()
	case "fail":
		w.fail = true
	case "broke":
		w.half.broke()
	case "dead":
		w.half.dead()
	default:
		t.Fatalf("unknown command %q", cmd[0])
	}
}

// run takes steps until there are none.
func (w *world) run(t *testing.T, out *strings.Builder) {
	t.Helper()
	for range 20 {
		s, at := w.half.next(w)
		if s == Wait {
			if at > 0 {
				fmt.Fprintf(out, "  wait %v\n", at-w.now)
			}
			return
		}
		if w.fail && (s == Connect || s == Prepare) {
			fmt.Fprintf(out, "  %v fails\n", s)
			w.fail = false
			w.half.broke()
			continue
		}
		w.half.done(w, s)
		fmt.Fprintf(out, "  %v", s)
		if st := s.Writes(); st != Unknown {
			w.own = st
			fmt.Fprintf(out, ": %d", st)
		}
		fmt.Fprintln(out)
		switch s {
		case Remove:
			w.exists = false
		case Forget:
			w.half = w.half.again()
			if w.exists {
				continue
			}
			return
		}
	}
	t.Fatalf("it never waits:\n%s", out)
}
