package xenstore_test

import (
	"context"
	"fmt"
	"io"

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

// A client that outlives its service: here the service hangs up once, and the client connects again by itself.
func ExampleOpen() {
	host := sim.New(1)
	defer host.Close()
	var last io.Closer // the connection, for this example
	dial := func(context.Context) (io.ReadWriteCloser, error) {
		conn := host.Dom0().OpenStore()
		last = conn
		return conn, nil
	}
	ctx := context.Background()
	store, err := xenstore.Open(ctx, xenstore.Options{Dial: dial, Lost: xenstore.Wait}) // elsewhere without Dial
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	watch, err := store.Watch(ctx, "/demo")
	if err != nil {
		fmt.Println(err)
		return
	}
	e, _ := watch.Next(ctx)
	fmt.Println(e.Path, e.Lost)
	last.Close()
	e, _ = watch.Next(ctx)
	fmt.Println(e.Path, e.Lost) // what happened meanwhile is in this one: read again
	// Output:
	// /demo false
	// /demo true
}
