package xentest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Prepare makes path anew, as a directory that every domain may read and write: what Env.Path and Meet want. Only
// dom0 can. Every domain of the host can disturb a test that meets there.
func Prepare(ctx context.Context, store *xenstore.Client, path string) error {
	if err := store.Remove(ctx, path); err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return err
	}
	if err := store.Mkdir(ctx, path); err != nil {
		return err
	}
	return store.SetPerms(ctx, path, xs.Perm{Dom: 0, Access: xs.AccessBoth})
}

// Meet tells the other side, below path, which domain plays our role, and waits until the other role is played, by a
// domain that Meet returns. path is made by Prepare, at any time.
func Meet(ctx context.Context, store *xenstore.Client, path string, role Role, own xen.DomID) (xen.DomID, error) {
	w, err := store.Watch(ctx, path)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	told := false
	for {
		if !told {
			err := store.Write(ctx, xenstore.Join(path, role.String()), strconv.Itoa(int(own)))
			switch {
			case err == nil:
				told = true
			case errors.Is(err, xenstore.ErrNotExist) || errors.Is(err, xenstore.ErrPermission):
			default:
				return 0, err
			}
		}
		v, err := store.Read(ctx, xenstore.Join(path, role.other().String()))
		if err == nil && told {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil {
				return 0, fmt.Errorf("%s/%v holds %q, want the number of a domain", path, role.other(), v)
			}
			return xen.DomID(n), nil
		}
		if _, err := w.Next(ctx); err != nil {
			return 0, fmt.Errorf("waiting for the %v in %s (dom0 makes it with --prepare): %w", role.other(), path, err)
		}
	}
}

// Forget removes what a domain told in Meet: for a harness that is about to replace it.
func Forget(ctx context.Context, store *xenstore.Client, path string, role Role) error {
	return store.Remove(ctx, xenstore.Join(path, role.String()))
}
