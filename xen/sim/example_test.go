package sim_test

import (
	"context"
	"fmt"

	"morgana/xen"
	"morgana/xen/sim"
)

// One domain shares a page and tells the other, which maps it and reads.
func Example() {
	host := sim.New(1)
	defer host.Close()
	front, _ := host.NewDomain()
	back, _ := host.NewDomain()
	ctx := context.Background()

	grant, err := front.Share(back.ID(), 1, xen.ReadOnly)
	if err != nil {
		fmt.Println(err)
		return
	}
	copy(grant.Bytes(), "hello")
	event, _ := front.Listen(back.ID())

	bound, _ := back.Connect(front.ID(), event.Port())
	if err := bound.Wait(ctx); err != nil {
		fmt.Println(err)
	}
	page, _ := back.Map(front.ID(), grant.Refs(), xen.ReadOnly)
	fmt.Printf("%s\n", page.Bytes()[:5])
	_, err = back.Map(front.ID(), grant.Refs(), xen.ReadWrite)
	fmt.Println(err)
	fmt.Println(grant.Close())
	// Output:
	// hello
	// xen: map 1 pages of domain 1: reference 8 of domain 1: bad grant reference: it is read-only
	// xen: close grant 8 and 0 more: 1 pages: still in use by the peer
}
