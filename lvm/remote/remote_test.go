package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/lvm/remote"
	"morgana/xen/sim"
	"morgana/xenstore"
)

// service is a domain that takes commands.
type service struct {
	t    *testing.T
	ctx  context.Context
	host *sim.Host
	dom  *sim.Domain
	dom0 *xenstore.Client
	stop func() error
}

func newService(t *testing.T) *service {
	s := &service{t: t, host: sim.New(1)}
	t.Cleanup(s.host.Close)
	var err error
	if s.dom, err = s.host.NewDomain(); err != nil {
		t.Fatal(err)
	}
	s.dom0 = s.host.Dom0().Store()
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return s
}

// serve serves until stop, and waits until it does.
func (s *service) serve(run remote.Command) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- remote.Serve(ctx, s.dom.Store(), s.dom.ID(), run) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-done })
	s.t.Cleanup(func() { _ = s.stop() })
	for {
		ok, err := s.dom0.Exists(s.ctx, s.node("serving"))
		if err != nil {
			s.t.Fatal(err)
		}
		if ok {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *service) node(name string) string {
	return fmt.Sprintf("/local/domain/%d/%s/%s", s.dom.ID(), remote.Dir, name)
}

func (s *service) call(args ...string) (stdout, stderr string, code int, err error) {
	var out, errs bytes.Buffer
	code, err = remote.Run(s.ctx, s.dom0, s.dom.ID(), args, &out, &errs)
	return out.String(), errs.String(), code, err
}

// empty waits until nothing is left of any command.
func (s *service) empty() {
	s.t.Helper()
	for _, dir := range []string{"request", "reply"} {
		if names, err := s.dom0.List(s.ctx, s.node(dir)); err != nil || len(names) > 0 {
			s.t.Errorf("left in %s: %q, %v", dir, names, err)
		}
	}
}

// echo prints its arguments to both streams in turn and ends with their number.
func echo(_ context.Context, args []string, stdout, stderr io.Writer) int {
	for i, a := range args {
		fmt.Fprintln([]io.Writer{stdout, stderr}[i%2], a)
	}
	return len(args)
}

func TestCommand(t *testing.T) {
	s := newService(t)
	s.serve(echo)
	odd := "with spaces, \"quotes\", \x01 and ü"
	out, errs, code, err := s.call("lvcreate", "-L1g", odd)
	if err != nil || out != "lvcreate\n"+odd+"\n" || errs != "-L1g\n" || code != 3 {
		t.Errorf("%q, %q, %d, %v", out, errs, code, err)
	}
	s.empty()
	if err := s.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, _, _, err := s.call("lvs"); !errors.Is(err, remote.ErrNotServing) {
		t.Error("to a domain that does not serve:", err)
	}
}

func TestLongOutput(t *testing.T) {
	s := newService(t)
	text := make([]byte, 100_000)
	rand.New(rand.NewSource(1)).Read(text)
	s.serve(func(_ context.Context, _ []string, stdout, stderr io.Writer) int {
		_, err := stdout.Write(text)
		fmt.Fprint(stderr, err)
		return 0
	})
	out, errs, code, err := s.call("lvs")
	if err != nil || out != string(text) || errs != "<nil>" || code != 0 {
		t.Errorf("%d bytes of %d, %q, %d, %v", len(out), len(text), errs, code, err)
	}
	s.empty()
}

func TestManyCallers(t *testing.T) {
	s := newService(t)
	running := false
	s.serve(func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
		if running {
			t.Error("two at a time")
		}
		running = true
		defer func() { running = false }()
		return echo(ctx, args, stdout, stderr)
	})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			want := fmt.Sprint("number ", i)
			out, _, code, err := s.call(want)
			if out != want+"\n" || code != 1 || err != nil {
				t.Errorf("%q, %d, %v; want %q", out, code, err, want)
			}
		})
	}
	wg.Wait()
	s.empty()
}

// A caller that gives up interrupts its command, and the next one's goes on.
func TestCallerGivesUp(t *testing.T) {
	s := newService(t)
	begun := make(chan struct{})
	ended := make(chan error, 1)
	s.serve(func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
		if args[0] != "wait" {
			return echo(ctx, args, stdout, stderr)
		}
		close(begun)
		<-ctx.Done()
		_, err := stdout.Write(make([]byte, 10_000))
		ended <- err
		return 0
	})
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() {
		_, err := remote.Run(ctx, s.dom0, s.dom.ID(), []string{"wait"}, io.Discard, io.Discard)
		done <- err
	}()
	<-begun
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("output was taken for a caller that is gone")
	}
	if out, _, _, err := s.call("next"); out != "next\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	s.empty()
}

// A domain that starts again tells the caller of what it had begun, and carries out what it had not.
func TestServerStartsAgain(t *testing.T) {
	s := newService(t)
	reply := s.node("reply/ab")
	for path, v := range map[string]string{"reply/ab/running": "3", "reply/ab/2": "1the third\n", "request/cd": `["next"]`} {
		if err := s.dom.Store().Write(s.ctx, s.node(path), v); err != nil {
			t.Fatal(err)
		}
	}
	s.serve(echo)
	for {
		code, err := s.dom0.Read(s.ctx, s.node("reply/cd/code"))
		if err == nil && code == "1 1" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if code, err := s.dom0.Read(s.ctx, reply+"/code"); err != nil || code != "5 4" {
		t.Errorf("a command that was interrupted ends with %q, %v", code, err)
	}
	if v, err := s.dom0.Read(s.ctx, reply+"/3"); err != nil || !strings.HasPrefix(v, "2  The storage domain started again") {
		t.Errorf("%q, %v", v, err)
	}
	if v, err := s.dom0.Read(s.ctx, s.node("reply/cd/0")); err != nil || v != "1next\n" {
		t.Errorf("%q, %v", v, err)
	}
}

// The domain is destroyed while a command is under way: its caller hears of it.
func TestDomainDies(t *testing.T) {
	s := newService(t)
	begun := make(chan struct{})
	s.serve(func(ctx context.Context, _ []string, _, _ io.Writer) int {
		close(begun)
		<-ctx.Done()
		return 0
	})
	done := make(chan error, 1)
	go func() {
		_, _, _, err := s.call("lvcreate")
		done <- err
	}()
	<-begun
	s.dom.Destroy()
	if err := <-done; !errors.Is(err, remote.ErrInterrupted) {
		t.Error(err)
	}
}

func TestBadRequests(t *testing.T) {
	s := newService(t)
	s.serve(echo)
	if _, _, _, err := s.call(strings.Repeat("x", remote.CommandMax)); !errors.Is(err, remote.ErrTooLong) {
		t.Error("a long command:", err)
	}
	for i, v := range []string{"", "lvs", "[]", "{}", `["a"`, `[1]`, "null", strings.Repeat("[", 1500)} {
		id := fmt.Sprintf("%x", 0xa00+i)
		if err := s.dom0.Write(s.ctx, s.node("request/"+id), v); err != nil {
			t.Fatal(err)
		}
		for {
			code, err := s.dom0.Read(s.ctx, s.node("reply/"+id+"/code"))
			if err == nil {
				if code != "2 1" {
					t.Errorf("request %q ends with %q", v, code)
				}
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	if err := s.dom0.Write(s.ctx, s.node("request/no-id"), `["lvs"]`); err != nil {
		t.Fatal(err)
	}
	if out, _, _, err := s.call("still there"); err != nil || out != "still there\n" {
		t.Errorf("%q, %v", out, err)
	}
	if ok, err := s.dom0.Exists(s.ctx, s.node("request/no-id")); ok || err != nil {
		t.Error("a request with a bad name stays:", ok, err)
	}
}

func TestFind(t *testing.T) {
	s := newService(t)
	if err := s.dom0.Write(s.ctx, fmt.Sprintf("/local/domain/%d/name", s.dom.ID()), "storage"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"storage", fmt.Sprint(s.dom.ID())} {
		if d, err := remote.Find(s.ctx, s.dom0, name); err != nil || d != s.dom.ID() {
			t.Errorf("%s is %d, %v", name, d, err)
		}
	}
	if _, err := remote.Find(s.ctx, s.dom0, "nowhere"); !errors.Is(err, remote.ErrNoDomain) {
		t.Error(err)
	}
}

func FuzzRequest(f *testing.F) {
	for _, v := range []string{`["lvs"]`, "", "[]", `["a","b"]`, `[1]`} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		args, err := remote.ParseCommand(v)
		if err != nil {
			return
		}
		b, err := remote.AppendCommand(args)
		if errors.Is(err, remote.ErrTooLong) {
			return // JSON has shorter ways to write some strings
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := remote.ParseCommand(string(b))
		if err != nil || strings.Join(args, "\x00") != strings.Join(again, "\x00") {
			t.Fatalf("%q %q %v", args, again, err)
		}
	})
}
