package xenstore_test

import (
	"context"
	"fmt"

	"morgana/xen/sim"
	"morgana/xenstore"
)

func Example() {
	host := sim.New(1)
	defer host.Close()
	store := host.Dom0().Store() // elsewhere: xenstore.Dial(ctx)
	ctx := context.Background()

	watch, err := store.Watch(ctx, "/demo")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer watch.Close()
	err = store.Transact(ctx, func(tx *xenstore.Tx) error {
		if err := tx.Write(ctx, "/demo/state", "4"); err != nil {
			return err
		}
		return tx.Write(ctx, "/demo/name", "disk")
	})
	if err != nil {
		fmt.Println(err)
	}
	for range 3 {
		e, _ := watch.Next(ctx)
		fmt.Println(e.Path)
	}
	_, err = store.Read(ctx, "/demo/none")
	fmt.Println(err)
	// Output:
	// /demo
	// /demo/state
	// /demo/name
	// xenstore read "/demo/none": no such node
}
