package xenconsoled

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"morgana/xen"
	"morgana/xen/wire/console"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Found is what the tool stack says of a guest's console. Its page is always grant xen.GrantConsole.
type Found struct {
	Dom   xen.DomID
	Port  xen.Port // of the event channel that was made for who serves
	Ref   uint64   // tells the page from another one that the guest had
	VM    string   // tells the guest from another one of the same number
	Name  string   // "" while it has none
	Limit int      // how many bytes are to be kept
}

// Follower follows what xenstore says of consoles, as dom0 sees it.
type Follower struct {
	Store *xenstore.Client
	// Backend is the domain whose consoles are looked for: the one that serves them.
	Backend xen.DomID
	// Alive reports whether a domain exists and is not being destroyed.
	Alive func(xen.DomID) bool
	// Poll is how often Look is called in any case, because xenstore may not tell that a guest is gone.
	Poll time.Duration
	// Named is called for each guest that has a terminal by xenstore, whoever serves it, when the guest is new to Follow and
	// before Found is called for any that was there with it; it may be nil.
	Named func(d xen.DomID, tty string)
	// Found is called for each console, and again when something about it has changed. Other is called for a guest whose
	// console somebody else serves; it may be nil. Look is called when guests may be gone. An error ends Follow.
	Found func(context.Context, Found) error
	Other func(context.Context, xen.DomID) error
	Look  func()

	watched map[xen.DomID]bool
}

const introduced, released = xs.IntroduceDomain, xs.ReleaseDomain

// Follow follows until ctx or the connection ends. It calls the functions one at a time.
func (f *Follower) Follow(ctx context.Context) error {
	w, err := f.Store.Watch(ctx, introduced, released)
	if err != nil {
		return err
	}
	defer w.Close()
	f.watched = make(map[xen.DomID]bool)
	poll := time.NewTicker(f.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-poll.C:
			f.Look()
		case e, ok := <-w.Events():
			switch {
			case !ok:
				return w.Err()
			case e.Watched == introduced || e.Watched == released:
				f.Look()
				err = f.look(ctx, w)
			default:
				var d xen.DomID
				if d, err = watchedDomain(e.Watched); err == nil {
					err = f.check(ctx, d)
				}
			}
			if err != nil {
				return err
			}
		}
	}
}

func consoleDir(d xen.DomID) string { return xs.DomainPath(d) + "/console" }

// watchedPaths are what is watched of a domain.
func watchedPaths(d xen.DomID) [2]string { return [2]string{consoleDir(d), xs.DomainPath(d) + "/name"} }

func watchedDomain(path string) (xen.DomID, error) {
	number, _, _ := strings.Cut(strings.TrimPrefix(path, "/local/domain/"), "/")
	n, err := strconv.ParseUint(number, 10, 15)
	return xen.DomID(n), err
}

// look watches the consoles of all domains but dom0.
func (f *Follower) look(ctx context.Context, w *xenstore.Watch) error {
	names, err := f.Store.List(ctx, "/local/domain")
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return err
	}
	here := make(map[xen.DomID]bool, len(names))
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 15)
		d := xen.DomID(n)
		if err != nil || d == 0 || d >= xen.DomFirstReserved || !f.Alive(d) {
			continue
		}
		here[d] = true
		if !f.watched[d] {
			f.watched[d] = true
			if f.Named != nil {
				if tty, err := f.Store.Read(ctx, consoleDir(d)+"/"+console.KeyTTY); err == nil && tty != "" {
					f.Named(d, tty)
				}
			}
			for _, p := range watchedPaths(d) {
				if err := w.Add(ctx, p); err != nil { // its first event comes at once
					return err
				}
			}
		}
	}
	for d := range f.watched {
		if !here[d] {
			delete(f.watched, d)
			for _, p := range watchedPaths(d) {
				if err := w.Remove(ctx, p); err != nil && !errors.Is(err, xenstore.ErrNotExist) {
					return err
				}
			}
		}
	}
	return nil
}

// check looks at what xenstore says of a console.
func (f *Follower) check(ctx context.Context, d xen.DomID) error {
	dir := consoleDir(d)
	read := func(path string) (string, error) {
		v, err := f.Store.Read(ctx, path)
		if errors.Is(err, xenstore.ErrNotExist) || errors.Is(err, xenstore.ErrPermission) { // not there for us
			return "", nil
		}
		return v, err
	}
	var refText, portText, kind, backend, limit string
	found := Found{Dom: d}
	for path, to := range map[string]*string{
		dir + "/" + console.KeyRingRef: &refText, dir + "/" + console.KeyPort: &portText, dir + "/" + console.KeyType: &kind,
		dir + "/" + console.KeyLimit: &limit, dir + "/" + console.KeyBackendID: &backend,
		xs.DomainPath(d) + "/vm": &found.VM, xs.DomainPath(d) + "/name": &found.Name,
	} {
		var err error
		if *to, err = read(path); err != nil {
			return err
		}
	}
	ref, err1 := strconv.ParseUint(refText, 0, 64)
	port, err2 := strconv.ParseUint(portText, 0, 32)
	if err1 != nil || err2 != nil {
		return nil // not there yet
	}
	if n, err := strconv.ParseUint(backend, 10, 16); kind != "" && kind != console.TypeXenconsoled ||
		(err == nil || f.Backend != 0) && xen.DomID(n) != f.Backend {
		if f.Other != nil {
			return f.Other(ctx, d)
		}
		return nil
	}
	found.Ref, found.Port, found.Limit = ref, xen.Port(port), parseLimit(limit)
	return f.Found(ctx, found)
}

// Bounds of what is kept of a console.
const (
	limitLeast   = 16 << 10
	limitDefault = 1 << 20
	limitMost    = 16 << 20
)

// parseLimit reads how much is to be kept. 0 and what is not there mean no limit to Xen's daemon, and the default here.
func parseLimit(s string) int {
	n, err := strconv.ParseUint(s, 0, 63)
	if err != nil || n == 0 {
		n = limitDefault
	}
	return int(min(max(n, limitLeast), limitMost))
}

// ErrUnwritable says that a terminal could not be told to xenstore, and never can.
var ErrUnwritable = errors.New("its terminal cannot be told to xenstore")

// Publish says in xenstore where the terminal of a guest is. told is what the last call said: a new terminal may be
// called as the one before it, and is written anyway, so that who watches looks again.
func Publish(ctx context.Context, store *xenstore.Client, d xen.DomID, name string, told bool) (bool, error) {
	path := consoleDir(d) + "/" + console.KeyTTY
	if v, err := store.Read(ctx, path); err == nil && v == name && told {
		return true, nil
	}
	err := store.Write(ctx, path, name)
	if errors.Is(err, xenstore.ErrNotExist) || errors.Is(err, xenstore.ErrPermission) || errors.Is(err, xenstore.ErrInvalid) {
		err = fmt.Errorf("domain %d: %w: %w", d, ErrUnwritable, err)
	}
	return err == nil, err
}
