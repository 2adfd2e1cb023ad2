package daemon

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/server"
)

// XSA-38: whatever a domain writes into its ring's indexes, we read and write within the ring, and know when they are
// impossible. What it changes after we looked does not count.
func TestXSA38RingIndexes(t *testing.T) {
	// A page with something behind it that nobody may touch.
	mem := make([]byte, 3*xen.PageSize)
	page := mem[xen.PageSize : 2*xen.PageSize : 2*xen.PageSize]
	r, err := newRing(&server.Conn{}, page, 0)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	out := bytes.Repeat([]byte{0xee}, 3000)
	var buf [xs.RingSize]byte
	odd := func() uint32 {
		switch rnd.IntN(4) {
		case 0:
			return rnd.Uint32()
		case 1:
			return uint32(rnd.IntN(2*xs.RingSize + 2))
		case 2:
			return ^uint32(0) - uint32(rnd.IntN(2*xs.RingSize))
		}
		return uint32(rnd.IntN(4)) * xs.RingSize
	}
	bad := 0
	for range 100_000 {
		cons, prod := odd(), odd()
		r.reqCons.Store(cons)
		r.reqProd.Store(prod)
		b, err := r.peek(&buf)
		if impossible := prod-cons > xs.RingSize; (err != nil) != impossible || err == nil && uint32(len(b)) != prod-cons {
			t.Fatalf("requests from %d to %d: %d bytes, %v", cons, prod, len(b), err)
		} else if impossible {
			bad++
		}
		cons, prod = odd(), odd()
		r.rspCons.Store(cons)
		r.rspProd.Store(prod)
		n, err := r.put(out)
		if impossible := prod-cons > xs.RingSize; (err != nil) != impossible || err == nil && uint32(n) != xs.RingSize-(prod-cons) {
			t.Fatalf("replies from %d to %d: %d bytes, %v", cons, prod, n, err)
		}
	}
	if bad == 0 {
		t.Error("no index was ever impossible")
	}
	if zero := make([]byte, xen.PageSize); !bytes.Equal(mem[:xen.PageSize], zero) || !bytes.Equal(mem[2*xen.PageSize:], zero) {
		t.Error("something beside the page was written")
	}
	if bytes.Contains(page[:xs.RingRsp], []byte{0xee}) {
		t.Error("replies were written among the requests")
	}
}
