package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"morgana/xen"
)

// keys is a console that says nothing, or floods, and keeps what is typed.
type keys struct {
	floods bool

	mu     sync.Mutex
	got    []byte
	closed bool
}

func (k *keys) begin() {}
func (k *keys) given() {}
func (k *keys) end()   {}

func (k *keys) next(ctx context.Context, p []byte) (int, error) {
	if k.floods && ctx.Err() == nil {
		return len(p), nil
	}
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

func (k *keys) write(_ context.Context, p []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, p...)
	return nil
}

func (k *keys) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
}

func (k *keys) typed() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Clone(k.got)
}

// terminal runs a terminal at a console until the test ends.
func terminal(t *testing.T, k *keys) *pty {
	t.Helper()
	all, err := newPTYs()
	if err != nil {
		t.Fatal(err)
	}
	p, err := all.newPTY(5, k)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := all.run(); err != nil {
			t.Error(err)
		}
	})
	parts.Go(func() { p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		all.Close()
		parts.Wait()
		if !k.closed {
			t.Error("the console is not let go")
		}
	})
	return p
}

// echo is what a shell's echo into the terminal does: it opens, writes, and closes at once.
func echo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Error(err)
	}
}

// hears waits until a text was typed, and looks that nothing else was.
func (k *keys) hears(t *testing.T, want []byte) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); len(k.typed()) < len(want); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			break
		}
	}
	if got := k.typed(); !bytes.Equal(got, want) {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		t.Fatalf("%d of %d bytes were typed, others from %d on: %.60q", len(got), len(want), at, got[at:])
	}
}

// Who opens a terminal, writes and closes at once is heard, every time and once: whether somebody else has it open, and
// whether the guest floods it meanwhile.
func TestWrittenAndClosedAtOnce(t *testing.T) {
	const times = 1000
	for _, k := range []*keys{{}, {floods: true}} {
		t.Run(fmt.Sprintf("floods %v", k.floods), func(t *testing.T) {
			p := terminal(t, k)
			var want []byte
			for i := range times {
				line := fmt.Sprintf("line %d\n", i)
				want = append(want, line...)
				echo(t, p.Name(), line)
			}
			k.hears(t, want)
		})
	}
}

// One line at a time, each after the one before it was heard: nothing comes with the next.
func TestEachIsHeardByItself(t *testing.T) {
	k := &keys{}
	p := terminal(t, k)
	var want []byte
	for i := range 300 {
		line := fmt.Sprintf("line %d\n", i)
		want = append(want, line...)
		echo(t, p.Name(), line)
		k.hears(t, want)
	}
}

// A terminal is not called as xenstore calls another guest's, whose name a daemon before this one left: who types at that
// guest would type at this one.
func TestNamesOfOthersAreNotTaken(t *testing.T) {
	all, err := newPTYs()
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	make := func(d xen.DomID) *pty {
		t.Helper()
		p, err := all.newPTY(d, &keys{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := make(5)
	name := p.Name() // the lowest that is free, and so the next one's too
	p.close()
	all.named(7, name)
	p = make(5)
	if p.Name() == name {
		t.Errorf("guest 5 has %s, which is guest 7's in xenstore", name)
	}
	p.close()
	own := make(7) // its own name it may have
	own.close()
	if len(all.names) > 0 {
		t.Errorf("%v is kept of guests that have had other terminals", all.names)
	}
}
