//go:build crashtest

package crashtest

import (
	"context"
	"fmt"

	"morgana/unikernel"
	"morgana/xenstore"
)

// Watch lets the program die when somebody writes data/crash: what a fault anywhere in it would do. data/generation tells
// how often it was started.
func Watch(ctx context.Context, store *xenstore.Client) {
	w, err := store.Watch(ctx, "data/crash")
	if err != nil {
		panic(err)
	}
	_ = store.Write(ctx, "data/generation", fmt.Sprint(unikernel.Generation()))
	go func() {
		defer w.Close()
		for {
			if _, err := w.Next(ctx); err != nil {
				return
			}
			if ok, err := store.Exists(ctx, "data/crash"); err == nil && ok {
				_ = store.Remove(ctx, "data/crash")
				panic("data/crash was written")
			}
		}
	}()
}
