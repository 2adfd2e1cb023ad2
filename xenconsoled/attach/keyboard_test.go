package attach

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"morgana/xen/ring"
	"morgana/xen/wire/console"
)

// answer is what a service does with one connection of a keyboard: it has an index, reads so much of what is typed, says
// what the guest was given of it, and breaks the connection.
type answer struct {
	input uint32
	reads string
	given []byte // frames
}

// keyboard makes one whose connections get the answers, one after the other; then the guest is gone.
func keyboard(t *testing.T, answers ...answer) *Keyboard {
	t.Helper()
	next := 0
	k := NewKeyboard(func(context.Context) (*Client, Info, error) {
		if next == len(answers) {
			return nil, Info{}, io.EOF
		}
		a := answers[next]
		next++
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			in := &frames{r: there}
			got := ""
			for len(got) < len(a.reads) {
				kind, body, err := in.next()
				if err != nil || kind != kindInput {
					t.Errorf("connection %d: %q, %v", next, kind, err)
					return
				}
				got += string(body)
			}
			if got != a.reads {
				t.Errorf("over connection %d %q was typed, want %q", next, got, a.reads)
			}
			if len(a.given) == 0 {
				return
			}
			if _, err := there.Write(a.given); err != nil {
				t.Errorf("connection %d: %v", next, err)
			}
		}()
		return NewClient(here), Info{Input: a.input}, nil
	})
	t.Cleanup(k.Close)
	return k
}

// What is typed over the next connection is what the guest was not given over the one before: by what it was told, and by
// how far the index has gone on since, which passes 2^32.
func TestKeyboardGoesOn(t *testing.T) {
	k := keyboard(t,
		answer{0xffff_fffe, "hello world", appendGiven(nil, 6, 4)},
		answer{6, "rld", append(appendGiven(nil, 1, 7), appendGiven(nil, 2, 8)...)},
		answer{8, "d", nil},
		answer{9, "", nil})
	if n, err := k.Write(t.Context(), []byte("hello world")); n != 11 || err != nil {
		t.Fatal(n, err)
	}
	if err := k.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	k.works.Wait()
	if len(k.kept) > 0 || k.err != nil || k.working {
		t.Errorf("%q is kept, %v", k.kept, k.err)
	}
}

// What others typed before anything was on the road is not taken for what was typed; after that no more than was on it.
func TestKeyboardBesideOthers(t *testing.T) {
	for _, c := range []struct {
		sent, index uint32
		kept        string
	}{{0, 103, "hello"}, {2, 103, "llo"}, {2, 4, "ello"}, {2, 3, "hello"}, {5, 2, ""}} {
		k := &Keyboard{changed: make(chan struct{}), kept: []byte("hello"), sent: int(c.sent), index: 3}
		if k.resume(c.index); string(k.kept) != c.kept || k.sent != 0 {
			t.Errorf("%+v: %q is kept, %d sent", c, k.kept, k.sent)
		}
	}
}

// A service that says that more was given than was typed, or an index that no honest guest has, loses what was typed, and
// nothing else comes of it.
func TestKeyboardAtLiars(t *testing.T) {
	k := keyboard(t,
		answer{0, "hello", appendGiven(nil, 6, 0)},
		answer{0, "hello", append(appendGiven(nil, 2, 2), appendGiven(nil, 1, 1)...)},
		answer{1, "", nil})
	if _, err := k.Write(t.Context(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	k.works.Wait()
	if len(k.kept) > 0 || k.err != nil {
		t.Errorf("%q is kept, %v", k.kept, k.err)
	}
}

// When the guest is gone, who types is told so; and who waits to type when the keyboard is closed.
func TestKeyboardEnds(t *testing.T) {
	k := keyboard(t)
	if _, err := k.Write(t.Context(), make([]byte, keptMax)); err != nil {
		t.Fatal(err)
	}
	k.works.Wait()
	if _, err := k.Write(t.Context(), []byte("x")); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	k = NewKeyboard(func(ctx context.Context) (*Client, Info, error) {
		<-ctx.Done()
		return nil, Info{}, context.Cause(ctx)
	})
	ended := make(chan error, 1)
	go func() {
		_, err := k.Write(context.Background(), make([]byte, keptMax+1))
		ended <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		k.mu.Lock()
		full := len(k.kept) == keptMax
		k.mu.Unlock()
		if full {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	k.Close()
	k.Close()
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// A server types as a terminal does, says what was given, and where the guest does not read, waits; what it has when the
// client leaves it types yet.
func TestType(t *testing.T) {
	o := newOne(t)
	cons, err := ring.Word(o.page, console.InCons)
	if err != nil {
		t.Fatal(err)
	}
	prod, err := ring.Word(o.page, console.InProd)
	if err != nil {
		t.Fatal(err)
	}
	cons.Store(1000)
	prod.Store(1000)
	c := o.connect(t)
	info, err := c.Open(Request{Op: OpType, Guest: "web"})
	if err != nil || info.Input != 1000 {
		t.Fatalf("%+v, %v", info, err)
	}
	for i := range 3 {
		if _, err := c.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		if n, index, err := c.Given(); n != uint64(3*i+3) || index != uint32(1003+3*i) || err != nil {
			t.Errorf("%d, %d, %v", n, index, err)
		}
	}
	if _, err := c.Write(bytes.Repeat([]byte("x"), console.InSize)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for end := time.Now().Add(10 * time.Second); prod.Load() != 1000+console.InSize; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the index is %d", prod.Load())
		}
	}
	list, err := o.connect(t).List()
	if err != nil || list[0].Writers != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// Whatever a service answers, a keyboard ends, and keeps no more than was typed.
func FuzzKeyboard(f *testing.F) {
	f.Add(uint32(0), appendGiven(nil, 3, 3))
	f.Add(uint32(1<<32-1), append(appendGiven(nil, 1, 0), appendGiven(nil, 1<<63, 5)...))
	f.Add(uint32(7), []byte("T\x0b\x00\x00"))
	f.Add(uint32(7), []byte("O\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00ab"))
	f.Fuzz(func(t *testing.T, input uint32, b []byte) {
		opens := 0
		k := NewKeyboard(func(context.Context) (*Client, Info, error) {
			if opens++; opens > 2 {
				return nil, Info{}, io.EOF
			}
			return NewClient(struct {
				io.Reader
				io.Writer
				io.Closer
			}{bytes.NewReader(b), io.Discard, io.NopCloser(nil)}), Info{Input: input}, nil
		})
		if _, err := k.Write(t.Context(), []byte(strings.Repeat("typed", 1000))); err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		k.works.Wait()
		k.Close()
		if k.sent > len(k.kept) || len(k.kept) > 5000 {
			t.Errorf("%d are kept, %d sent", len(k.kept), k.sent)
		}
	})
}
