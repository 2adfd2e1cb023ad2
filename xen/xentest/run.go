package xentest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"morgana/xen"
	"morgana/xenstore"
)

// Keys in Env.Path. go holds the number and the name of the case that runs.
const (
	keyGo   = "go"
	wordEnd = "end"
)

// Run plays one side of the suite. The Initiator's returns when all cases are through, the Responder's when the
// Initiator is done. Each result is passed to report (nil: nobody wants it), and all are in the Report, which is
// valid even with an error. A case that fails is no error of Run: see Report.Err. Run closes nothing of Env.
func Run(ctx context.Context, env *Env, report func(Result)) (*Report, error) {
	if report == nil {
		report = func(Result) {}
	}
	rep := &Report{}
	add := func(r Result) {
		rep.Results = append(rep.Results, r)
		report(r)
	}
	if !strings.HasPrefix(env.Path, "/") {
		return rep, fmt.Errorf("xentest: path %q is not absolute", env.Path)
	}
	e := *env
	if e.Role == Responder {
		return rep, respond(ctx, &e, add)
	}
	return rep, initiate(ctx, &e, add)
}

func initiate(ctx context.Context, e *Env, add func(Result)) error {
	run := uint64(time.Now().UnixNano()) // a number that no earlier run in this directory had
	for _, c := range Cases() {
		if e.Only != nil && !e.Only(c.Name) {
			continue
		}
		if c.Kills && e.KillPeer == nil {
			add(Result{Case: c.Name, NotRun: "this harness cannot kill the peer"})
			continue
		}
		run++
		if err := e.Store.Write(ctx, xenstore.Join(e.Path, keyGo), fmt.Sprintf("%d %s", run, c.Name)); err != nil {
			return err
		}
		r := runCase(ctx, e, c, run)
		add(r)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := e.Store.Remove(ctx, caseDir(e, run)); err != nil {
			return err
		}
	}
	return e.Store.Write(ctx, xenstore.Join(e.Path, keyGo), fmt.Sprintf("%d %s", run+1, wordEnd))
}

func respond(ctx context.Context, e *Env, add func(Result)) error {
	key := xenstore.Join(e.Path, keyGo)
	w, err := e.Store.Watch(ctx, key)
	if err != nil {
		return err
	}
	defer w.Close()
	cases := make(map[string]Case)
	for _, c := range Cases() {
		cases[c.Name] = c
	}
	var last uint64
	for {
		if _, err := w.Next(ctx); err != nil {
			return err
		}
		v, err := e.Store.Read(ctx, key)
		if errors.Is(err, xenstore.ErrNotExist) || errors.Is(err, xenstore.ErrPermission) {
			continue // not there yet
		}
		if err != nil {
			return err
		}
		num, name, _ := strings.Cut(v, " ")
		run, err := strconv.ParseUint(num, 10, 64)
		if err != nil {
			return fmt.Errorf("xentest: %s holds %q, want a number and a case", key, v)
		}
		if run == last {
			continue
		}
		last = run
		if name == wordEnd {
			return nil
		}
		c, ok := cases[name]
		if !ok {
			return fmt.Errorf("xentest: the initiator wants case %q, which this build does not have", name)
		}
		r := runCase(ctx, e, c, run)
		add(r)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := e.Store.Err(); err != nil {
			return err
		}
	}
}

func caseDir(e *Env, run uint64) string {
	return xenstore.Join(e.Path, "run-"+strconv.FormatUint(run, 36))
}

// runCase plays this side of a case, and waits for the other side's outcome if this side leads.
func runCase(ctx context.Context, e *Env, c Case, run uint64) Result {
	ctx, cancel := context.WithTimeoutCause(ctx, e.timeout(), fmt.Errorf("no progress in %v", e.timeout()))
	defer cancel()
	start := time.Now()
	r := Result{Case: c.Name}
	s, err := newSession(ctx, e, caseDir(e, run))
	if err != nil {
		r.Err = err.Error()
		return r
	}
	defer s.close()
	if e.Role == Initiator {
		err = c.Initiator(ctx, s)
	} else {
		err = c.Responder(ctx, s)
	}
	r.Took = time.Since(start)
	r.Figures = s.figures
	outcome := "ok"
	if err != nil {
		outcome = err.Error()
	}
	// The other side must hear of a failure even if our time is up.
	tell, cancelTell := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancelTell()
	if perr := s.Put(tell, keyDone, outcome); perr != nil && err == nil {
		err = perr
	}
	if e.Role == Initiator && !c.Kills {
		theirs, gerr := s.Get(ctx, keyDone)
		if err == nil && gerr != nil {
			err = gerr
		}
		if gerr == nil && theirs != "ok" && (err == nil || !strings.Contains(err.Error(), theirs)) {
			err = errors.Join(err, fmt.Errorf("responder: %s", theirs))
		}
	}
	if err != nil {
		r.Err = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return r
}

// kill destroys the peer and goes on with its successor.
func (s *Session) kill(ctx context.Context) error {
	if err := s.Store.Remove(ctx, xenstore.Join(s.Path, keyGo)); err != nil {
		return err
	}
	d, err := s.KillPeer(ctx)
	if err != nil {
		return fmt.Errorf("kill peer: %w", err)
	}
	s.Env.Peer = d
	return nil
}

func fieldsSeq(s string) iter.Seq[string] { return strings.FieldsSeq(s) }

// expect is an error unless err matches one of the wanted.
func expect(what string, err error, want ...error) error {
	for _, w := range want {
		if errors.Is(err, w) {
			return nil
		}
	}
	if err == nil {
		return fmt.Errorf("%s succeeded, want error %q", what, want[0])
	}
	return fmt.Errorf("%s: got error %q, want %q", what, err, want[0])
}

// refused is an error unless err is one: the reason is the implementation's.
func refused(what string, err error) error {
	if err == nil {
		return fmt.Errorf("%s succeeded, want it refused", what)
	}
	if errors.Is(err, xen.ErrClosed) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w: not a refusal", what, err)
	}
	return nil
}
