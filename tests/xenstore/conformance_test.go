package xenstore

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"morgana/tests/xenstore/peers"
	"morgana/xenstore/storetest"
)

var update = flag.Bool("update", false, "write what xenstored answers into the scripts of the conformance suite")

// others finds the daemons of others; without them a test is skipped.
func others(t testing.TB) *peers.Peers {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the daemons of others")
	}
	p, err := peers.Find()
	if err != nil {
		t.Skip(err)
	}
	return p
}

func host(t testing.TB) *peers.Host {
	t.Helper()
	// A socket's path is short: not below t.TempDir, whose names are long.
	dir, err := os.MkdirTemp("", "xs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h, err := peers.NewHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The scripts say what xenstored answers: it does.
func TestScriptsAreXenstoreds(t *testing.T) {
	p := others(t)
	for _, name := range storetest.Names() {
		t.Run(name, func(t *testing.T) {
			d, err := p.StartC(host(t))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Kill()
			steps := play(t, d, name, (*storetest.Step).Xenstored)
			if *update {
				file := filepath.Join("../../xenstore/storetest/testdata", name+".txt")
				if err := os.WriteFile(file, []byte(storetest.Format(steps)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// play plays a script and compares; it returns the steps with what came.
func play(t *testing.T, s storetest.Service, name string, right func(*storetest.Step, []string) bool) []storetest.Step {
	t.Helper()
	steps, err := storetest.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	player := storetest.NewPlayer(s)
	defer player.Close()
	for i := range steps {
		st := &steps[i]
		got, err := player.Do(st.Text)
		if err != nil {
			t.Errorf("line %d: %s: %v", st.Line, st.Text, err)
			return steps
		}
		if !*update && !right(st, got) {
			t.Errorf("line %d: %s\n got %q\nwant %q, ours %q", st.Line, st.Text, got, st.Want, st.Ours)
		}
		if !st.Xenstored(got) {
			st.Want = got
		}
	}
	return steps
}

// Our daemon, with clients on its socket and guests on rings, answers as the scripts say.
func TestScriptsOnOurDaemon(t *testing.T) {
	for _, name := range storetest.Names() {
		t.Run(name, func(t *testing.T) {
			d := startOurs(t, host(t))
			play(t, d, name, (*storetest.Step).Right)
		})
	}
}

// oxenstored gets the same bytes. It differs in many places, of which the log tells; nothing here depends on it.
func TestScriptsOnOxenstored(t *testing.T) {
	p := others(t)
	for _, name := range storetest.Names() {
		t.Run(name, func(t *testing.T) {
			d, err := p.StartOCaml(host(t))
			if err != nil {
				t.Skip(err)
			}
			defer d.Kill()
			steps, err := storetest.Load(name)
			if err != nil {
				t.Fatal(err)
			}
			player := storetest.NewPlayer(d)
			defer player.Close()
			same := 0
			for i, s := range steps {
				got, err := player.Do(s.Text)
				if err != nil {
					t.Logf("line %d: %s: %v: it does not go on", s.Line, s.Text, err)
					steps = steps[:i+1]
					break
				}
				if s.Xenstored(got) {
					same++
				} else {
					t.Logf("line %d: %s: %q, xenstored %q", s.Line, s.Text, got, s.Want)
				}
			}
			t.Logf("%d of %d rows are xenstored's", same, len(steps))
			if same == 0 {
				t.Error("not a single answer is xenstored's: the daemon does not work here")
			}
		})
	}
}
