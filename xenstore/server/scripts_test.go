package server

import (
	"strings"
	"testing"

	"morgana/xenstore/storetest"
)

// The core answers as xenstored does, but where a script says otherwise.
func TestScripts(t *testing.T) {
	for _, name := range storetest.Names() {
		t.Run(name, func(t *testing.T) {
			steps, err := storetest.Load(name)
			if err != nil {
				t.Fatal(err)
			}
			p := storetest.NewPlayer(newMachine(t))
			defer p.Close()
			for _, s := range steps {
				got, err := p.Do(s.Text)
				if err != nil {
					t.Fatalf("line %d: %s: %v", s.Line, s.Text, err)
				}
				if !s.Right(got) {
					t.Errorf("line %d: %s\n got %s\nwant %q, ours %q", s.Line, s.Text, strings.Join(got, " / "), s.Want, s.Ours)
				}
			}
		})
	}
}
