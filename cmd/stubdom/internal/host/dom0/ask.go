package dom0

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xenstore"
)

// request is a line of who asks.
type request struct {
	ID     int    `json:"id"`
	Op     string `json:"op"` // "look", "node", "find", "tail"
	Path   string `json:"path,omitempty"`
	Text   string `json:"text,omitempty"`
	Limit  int    `json:"limit,omitempty"`
	Domain int    `json:"domain,omitempty"`
}

// reply is a line of who answers: one of the results, or an error.
type reply struct {
	ID       int             `json:"id"`
	Snapshot *model.Snapshot `json:"snapshot,omitempty"`
	Node     *model.Node     `json:"node,omitempty"`
	Found    []model.Node    `json:"found,omitempty"`
	More     bool            `json:"more,omitempty"`
	Tail     *model.Tail     `json:"tail,omitempty"`
	Error    string          `json:"error,omitempty"`
	Kind     string          `json:"kind,omitempty"` // of the error, if who asks can act on it
}

// kinds are the errors that who asks can act on.
var kinds = map[string]error{"not-found": xenstore.ErrNotExist, "invalid": xenstore.ErrInvalid}

// lineMax is how long a line may be.
const lineMax = 16 << 20

// Serve answers requests until in ends or ctx does.
func Serve(ctx context.Context, source model.Source, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var mu sync.Mutex // of out
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("a request that is none: %w", err)
		}
		all.Go(func() {
			a := answer(ctx, source, &r)
			b, err := json.Marshal(a)
			if err != nil {
				b, _ = json.Marshal(reply{ID: r.ID, Error: err.Error()}) // strings alone: cannot fail
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = out.Write(append(b, '\n')) // who left needs no answer
		})
	}
	return lines.Err()
}

func answer(ctx context.Context, source model.Source, r *request) (a reply) {
	a.ID = r.ID
	var err error
	switch r.Op {
	case "look":
		a.Snapshot, err = source.Look(ctx)
	case "node":
		a.Node, err = source.Node(ctx, r.Path)
	case "find":
		a.Found, a.More, err = source.Find(ctx, r.Text, r.Limit)
	case "tail":
		var t model.Tail
		t, err = source.Tail(ctx, r.Domain)
		a.Tail = &t
	default:
		err = fmt.Errorf("request %q: %w", r.Op, xenstore.ErrInvalid)
	}
	if err != nil {
		a = reply{ID: r.ID, Error: err.Error()}
		for kind, is := range kinds {
			if errors.Is(err, is) {
				a.Kind = kind
			}
		}
	}
	return a
}

// Asker asks a program that runs Serve. It implements model.Source. Safe for concurrent use.
type Asker struct {
	out io.Writer

	mu    sync.Mutex
	next  int
	calls map[int]chan reply
	err   error // once it is over
}

// NewAsker makes one that writes requests to out, and reads answers from in until that ends.
func NewAsker(in io.Reader, out io.Writer) *Asker {
	a := &Asker{out: out, calls: make(map[int]chan reply)}
	go a.read(in)
	return a
}

func (a *Asker) read(in io.Reader) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		var r reply
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue // a word of somebody else's
		}
		a.mu.Lock()
		c := a.calls[r.ID]
		delete(a.calls, r.ID)
		a.mu.Unlock()
		if c != nil {
			c <- r
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err = lines.Err(); a.err == nil {
		a.err = io.ErrUnexpectedEOF
	}
	for id, c := range a.calls {
		delete(a.calls, id)
		close(c)
	}
}

func (a *Asker) ask(ctx context.Context, r request) (reply, error) {
	c := make(chan reply, 1)
	a.mu.Lock()
	if a.err != nil {
		defer a.mu.Unlock()
		return reply{}, fmt.Errorf("dom0 does not answer: %w", a.err)
	}
	a.next++
	r.ID = a.next
	a.calls[r.ID] = c
	b, err := json.Marshal(r)
	if err == nil {
		_, err = a.out.Write(append(b, '\n'))
	}
	a.mu.Unlock()
	if err != nil {
		return reply{}, err
	}
	select {
	case x, ok := <-c:
		switch {
		case !ok:
			return reply{}, fmt.Errorf("dom0 does not answer: %w", io.ErrUnexpectedEOF)
		case x.Error != "":
			if is := kinds[x.Kind]; is != nil {
				return reply{}, fmt.Errorf("%s (%w)", model.Clean(x.Error, model.LineMax), is)
			}
			return reply{}, errors.New(model.Clean(x.Error, model.LineMax))
		}
		return x, nil
	case <-ctx.Done():
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.calls, r.ID)
		return reply{}, context.Cause(ctx)
	}
}

var errNothing = errors.New("dom0 answers with nothing")

// Look implements model.Source.
func (a *Asker) Look(ctx context.Context) (*model.Snapshot, error) {
	r, err := a.ask(ctx, request{Op: "look"})
	if err == nil && r.Snapshot == nil {
		err = errNothing
	}
	return r.Snapshot, err
}

// Node implements model.Source.
func (a *Asker) Node(ctx context.Context, path string) (*model.Node, error) {
	r, err := a.ask(ctx, request{Op: "node", Path: path})
	if err == nil && r.Node == nil {
		err = errNothing
	}
	return r.Node, err
}

// Find implements model.Source.
func (a *Asker) Find(ctx context.Context, text string, limit int) ([]model.Node, bool, error) {
	r, err := a.ask(ctx, request{Op: "find", Text: text, Limit: limit})
	return r.Found, r.More, err
}

// Tail implements model.Source.
func (a *Asker) Tail(ctx context.Context, domain int) (model.Tail, error) {
	r, err := a.ask(ctx, request{Op: "tail", Domain: domain})
	if err == nil && r.Tail == nil {
		err = errNothing
	}
	if err != nil {
		return model.Tail{}, err
	}
	return *r.Tail, nil
}
