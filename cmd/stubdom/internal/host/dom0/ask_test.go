package dom0_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/cmd/stubdom/internal/host/dom0"
	"morgana/cmd/stubdom/internal/host/simulated"
	"morgana/xenstore"
)

// Who asks from outside gets what who looks inside does: snapshots, nodes, what is found, and errors that can be acted on.
func TestAskerSeesWhatLookerDoes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	h, err := simulated.Start(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	requests, ask := io.Pipe()
	told, answers := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- dom0.Serve(ctx, h, requests, answers)
		answers.Close()
	}()
	a := dom0.NewAsker(told, ask)

	s, err := a.Look(ctx)
	if err != nil || len(s.Domains) != 2 || s.Domains[1].Name != "Xenstore" || !s.Store.Served {
		t.Errorf("Look: %+v, %v", s, err)
	}
	want, err := h.Node(ctx, "/local/domain/0")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Node(ctx, "/local/domain/0"); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("Node: %v, %s", err, cmp.Diff(want, got))
	}
	if _, err := a.Node(ctx, "/none"); !errors.Is(err, xenstore.ErrNotExist) {
		t.Errorf("a node that is not there: %v", err)
	}
	if _, err := a.Node(ctx, "no path"); !errors.Is(err, xenstore.ErrInvalid) {
		t.Errorf("no path: %v", err)
	}
	if found, more, err := a.Find(ctx, "Domain-0", 5); err != nil || more || len(found) != 1 || found[0].Path != "/local/domain/0/name" {
		t.Errorf("Find: %+v, %v, %v", found, more, err)
	}
	if _, err := a.Tail(ctx, 7); err == nil {
		t.Error("the console of nobody has a tail")
	}

	ask.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	for ctx.Err() == nil { // until the end was read
		if _, err := a.Look(ctx); err != nil && strings.Contains(err.Error(), "dom0 does not answer") {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("an asker does not notice that nobody answers")
}

// Whatever is asked, it is answered or refused.
func FuzzServe(f *testing.F) {
	f.Add(`{"id":1,"op":"look"}` + "\n" + `{"id":2,"op":"node","path":"/"}` + "\n")
	f.Add(`{"id":1,"op":"tail","domain":-5}` + "\n{}\n")
	h, err := simulated.Start(context.Background(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { h.Close() })
	f.Fuzz(func(t *testing.T, in string) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var out strings.Builder
		_ = dom0.Serve(ctx, h, strings.NewReader(in), &out) // a line that is none ends it
	})
}

// Whatever is answered, an asker goes on or says that it is over.
func FuzzAsker(f *testing.F) {
	f.Add(`{"id":1,"snapshot":{}}` + "\n")
	f.Add(`{"id":1}` + "\nnonsense\n")
	f.Add(`{"id":1,"error":"\u001b[2J","kind":"invalid"}` + "\n")
	f.Fuzz(func(t *testing.T, answers string) {
		in, told := io.Pipe()
		a := dom0.NewAsker(in, writer(func(b []byte) { // the answers come when it has asked
			go func() {
				_, _ = io.WriteString(told, answers)
				told.Close()
			}()
		}))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if _, err := a.Look(ctx); errors.Is(err, context.DeadlineExceeded) {
			t.Error("it waits for an answer that cannot come")
		} else if err != nil && strings.ContainsRune(err.Error(), 0x1b) {
			t.Errorf("%q", err)
		}
	})
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}
