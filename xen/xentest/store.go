package xentest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

func storeCases() []Case {
	return []Case{
		{Name: "store/nodes", Initiator: nodesI, Responder: followR},
		{Name: "store/watch-order", Initiator: watchOrderI, Responder: watchOrderR},
		{Name: "store/transaction", Initiator: txI, Responder: txR},
		{Name: "store/isolation", Initiator: isolationI, Responder: isolationR},
		{Name: "store/large-directory", Initiator: largeI, Responder: followR},
		{Name: "store/permissions", Initiator: permsI, Responder: permsR},
	}
}

// followR is the responder of a case that has nothing to do for it.
func followR(ctx context.Context, s *Session) error {
	_, err := s.Get(ctx, keyDone)
	return err
}

func nodesI(ctx context.Context, s *Session) error {
	st, at := s.Store, xenstore.Join(s.Dir, "nodes")
	deep := at + "/a/b/c"
	if err := st.Write(ctx, deep, "val\x00ue"); err != nil {
		return err
	}
	for _, c := range []struct{ path, want string }{{deep, "val\x00ue"}, {at + "/a", ""}, {at, ""}} {
		if v, err := st.Read(ctx, c.path); err != nil || v != c.want {
			return fmt.Errorf("read of %s: %q, %v; want %q", c.path, v, err, c.want)
		}
	}
	if err := st.Mkdir(ctx, deep); err != nil {
		return fmt.Errorf("mkdir of a node that exists: %w", err)
	}
	if v, err := st.Read(ctx, deep); err != nil || v != "val\x00ue" {
		return fmt.Errorf("mkdir changed the value of a node that exists to %q, %v", v, err)
	}
	if err := st.Remove(ctx, at+"/a"); err != nil {
		return err
	}
	_, err := st.Read(ctx, deep)
	if err := expect("read of a removed node", err, xenstore.ErrNotExist); err != nil {
		return err
	}
	if err := st.Remove(ctx, at+"/a"); err != nil {
		return fmt.Errorf("remove of what is gone: %w", err)
	}
	for _, p := range []string{"", "/a//b", "/a/", "/a b", "/a\x00b", "/" + strings.Repeat("x", xs.AbsPathMax)} {
		_, err := st.Read(ctx, p)
		if err := expect(fmt.Sprintf("read of path %.20q", p), err, xenstore.ErrInvalid); err != nil {
			return err
		}
	}
	return nil
}

const watchRounds = 40

// watchOrderI: a watch gives its first event at once, and the rest in the order in which the peer wrote.
func watchOrderI(ctx context.Context, s *Session) error {
	at := xenstore.Join(s.Dir, Responder.dir(), "w")
	w, err := s.Store.Watch(ctx, at)
	if err != nil {
		return err
	}
	defer w.Close()
	if e, err := w.Next(ctx); err != nil || e.Path != at {
		return fmt.Errorf("first event of a watch: %v, %v; want path %s", e, err, at)
	}
	if err := s.Step(ctx, "watching"); err != nil {
		return err
	}
	for i := range watchRounds {
		e, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		if want := fmt.Sprintf("%s/n%d", at, i); e.Path != want {
			return fmt.Errorf("event %d is for %s, want %s", i, e.Path, want)
		}
	}
	return nil
}

func watchOrderR(ctx context.Context, s *Session) error {
	if err := s.Step(ctx, "watching"); err != nil {
		return err
	}
	for i := range watchRounds {
		if err := s.Put(ctx, fmt.Sprintf("w/n%d", i), i); err != nil {
			return err
		}
	}
	_, err := s.Get(ctx, keyDone)
	return err
}

// txI: a transaction whose nodes the peer changed meanwhile fails with ErrAgain and leaves nothing; both sides
// count up one node in transactions and lose none.
func txI(ctx context.Context, s *Session) error {
	at := xenstore.Join(s.Dir, "i", "tx")
	if err := s.Store.Write(ctx, at+"/n", "0"); err != nil {
		return err
	}
	if err := s.Step(ctx, "start"); err != nil {
		return err
	}
	tx, err := s.Store.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Read(ctx, at+"/n"); err != nil {
		return err
	}
	if err := tx.Write(ctx, at+"/mine", "1"); err != nil {
		return err
	}
	if err := s.Step(ctx, "inside"); err != nil {
		return err
	}
	if err := s.Step(ctx, "changed"); err != nil {
		return err
	}
	if err := expect("commit after the peer changed what was read", tx.Commit(ctx), xenstore.ErrAgain); err != nil {
		return err
	}
	if ok, err := s.Store.Exists(ctx, at+"/mine"); ok || err != nil {
		return fmt.Errorf("a transaction that failed left a node behind (%v)", err)
	}
	if err := s.Step(ctx, "count"); err != nil {
		return err
	}
	if err := countUp(ctx, s, at+"/n"); err != nil {
		return err
	}
	if err := s.Step(ctx, "counted"); err != nil {
		return err
	}
	n, err := s.Store.ReadUint(ctx, at+"/n", 32)
	if err != nil {
		return err
	}
	if want := uint64(7 + 2*txRounds); n != want {
		return fmt.Errorf("two sides counted to %d in transactions, want %d: increments were lost", n, want)
	}
	return nil
}

const txRounds = 20

func countUp(ctx context.Context, s *Session, path string) error {
	for range txRounds {
		err := s.Store.Transact(ctx, func(tx *xenstore.Tx) error {
			n, err := tx.ReadUint(ctx, path, 32)
			if err != nil {
				return err
			}
			return tx.Write(ctx, path, fmt.Sprint(n+1))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func txR(ctx context.Context, s *Session) error {
	at := xenstore.Join(s.Dir, "i", "tx")
	for _, step := range []string{"start", "inside"} {
		if err := s.Step(ctx, step); err != nil {
			return err
		}
	}
	if err := s.Store.Write(ctx, at+"/n", "7"); err != nil {
		return err
	}
	for _, step := range []string{"changed", "count"} {
		if err := s.Step(ctx, step); err != nil {
			return err
		}
	}
	if err := countUp(ctx, s, at+"/n"); err != nil {
		return err
	}
	return s.Step(ctx, "counted")
}

// isolationI: what a transaction writes is seen by nobody until it commits, and never if it aborts.
func isolationI(ctx context.Context, s *Session) error {
	at := xenstore.Join(s.Dir, "i", "iso")
	if err := s.Store.Mkdir(ctx, at); err != nil {
		return err
	}
	for _, commit := range []bool{false, true} {
		name := fmt.Sprint("commit-", commit)
		tx, err := s.Store.Begin(ctx)
		if err != nil {
			return err
		}
		if err := tx.Write(ctx, at+"/"+name, "x"); err != nil {
			return err
		}
		if v, err := tx.Read(ctx, at+"/"+name); err != nil || v != "x" {
			return fmt.Errorf("a transaction does not see its own write: %q, %v", v, err)
		}
		if err := s.Step(ctx, "open-"+name); err != nil {
			return err
		}
		if err := s.Step(ctx, "looked-"+name); err != nil {
			return err
		}
		if commit {
			err = tx.Commit(ctx)
		} else {
			err = tx.Abort(ctx)
		}
		if err != nil {
			return err
		}
		if err := s.Step(ctx, "over-"+name); err != nil {
			return err
		}
	}
	return nil
}

func isolationR(ctx context.Context, s *Session) error {
	at := xenstore.Join(s.Dir, "i", "iso")
	for _, commit := range []bool{false, true} {
		name := fmt.Sprint("commit-", commit)
		if err := s.Step(ctx, "open-"+name); err != nil {
			return err
		}
		if ok, err := s.Store.Exists(ctx, at+"/"+name); ok || err != nil {
			return fmt.Errorf("the write of an open transaction is visible outside (%v)", err)
		}
		if err := s.Step(ctx, "looked-"+name); err != nil {
			return err
		}
		if err := s.Step(ctx, "over-"+name); err != nil {
			return err
		}
		if ok, err := s.Store.Exists(ctx, at+"/"+name); ok != commit || err != nil {
			return fmt.Errorf("after the transaction ended (commit %v) its node exists: %v, %v", commit, ok, err)
		}
	}
	return nil
}

// largeI lists a directory that does not fit into one reply. A domain's quota bounds a node with the names of its
// children to 2048 bytes, so this needs dom0; another domain lists the most that it may have.
func largeI(ctx context.Context, s *Session) error {
	at := xenstore.Join(s.Dir, "large")
	n, name := 600, "entry-%06d"
	if s.Dom.ID() != 0 {
		n, name = 120, "e%05d"
	}
	for i := range n {
		if err := s.Store.Write(ctx, fmt.Sprintf("%s/"+name, at, i), ""); err != nil {
			return err
		}
	}
	names, err := s.Store.List(ctx, at)
	if err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, x := range names {
		seen[x] = true
	}
	for i := range n {
		if x := fmt.Sprintf(name, i); !seen[x] {
			return fmt.Errorf("list of %d children gave %d, without %s", n, len(names), x)
		}
	}
	if len(names) != n {
		return fmt.Errorf("list of %d children gave %d", n, len(names))
	}
	return nil
}

// permsI closes a node to the peer, opens it for reading and then for writing. The peer is told by nodes that stay
// open. A peer that is dom0 may do everything, so then there is nothing to see.
func permsI(ctx context.Context, s *Session) error {
	at := xenstore.Join(s.Dir, "i", "secret")
	if err := s.Store.Write(ctx, at, "42"); err != nil {
		return err
	}
	me := s.Dom.ID()
	for _, a := range []xs.Access{xs.AccessNone, xs.AccessRead, xs.AccessBoth} {
		want := []xs.Perm{{Access: xs.AccessNone, Dom: me}, {Access: a, Dom: s.Peer}}
		if err := s.Store.SetPerms(ctx, at, want...); err != nil {
			return err
		}
		got, err := s.Store.GetPerms(ctx, at)
		if err != nil {
			return err
		}
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			return fmt.Errorf("permissions set to %v read back as %v", want, got)
		}
		if err := s.Step(ctx, "set-"+string(a)); err != nil {
			return err
		}
		if err := s.Step(ctx, "tried-"+string(a)); err != nil {
			return err
		}
	}
	return nil
}

func permsR(ctx context.Context, s *Session) error {
	at := xenstore.Join(s.Dir, "i", "secret")
	almighty := s.Dom.ID() == 0
	for _, a := range []xs.Access{xs.AccessNone, xs.AccessRead, xs.AccessBoth} {
		if err := s.Step(ctx, "set-"+string(a)); err != nil {
			return err
		}
		_, err := s.Store.Read(ctx, at)
		if err := allowed("read", a, almighty || a.CanRead(), err); err != nil {
			return err
		}
		err = s.Store.Write(ctx, at, "43")
		if err := allowed("write", a, almighty || a.CanWrite(), err); err != nil {
			return err
		}
		if err := s.Step(ctx, "tried-"+string(a)); err != nil {
			return err
		}
	}
	return nil
}

func allowed(what string, a xs.Access, want bool, err error) error {
	what = fmt.Sprintf("%s with permission %q", what, string(a))
	if want && err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !want && !errors.Is(err, xenstore.ErrPermission) {
		return fmt.Errorf("%s: got error %v, want %v", what, err, xenstore.ErrPermission)
	}
	return nil
}
