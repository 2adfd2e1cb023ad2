package ring_test

import (
	"fmt"

	"morgana/xen/ring"
)

// A frontend asks, a backend answers; each says whether the other must be notified.
func Example() {
	page := make([]byte, 4096) // shared by a grant
	front, _ := ring.NewFront(page, 16)
	back, _ := ring.NewBack(page, 16)

	front.Put([]byte("read sector 7"))
	fmt.Println("notify backend:", front.Push())

	req := make([]byte, 16)
	for {
		if ok, err := back.Take(req); err != nil || !ok {
			break
		}
		fmt.Printf("%s\n", req[:13])
		back.Put([]byte("done"))
	}
	fmt.Println("notify frontend:", back.Push())

	rsp := make([]byte, 16)
	ok, _ := front.Take(rsp)
	fmt.Printf("%v %s\n", ok, rsp[:4])
	// Output:
	// notify backend: true
	// read sector 7
	// notify frontend: true
	// true done
}
