package main

import (
	"fmt"

	"morgana/xen/wire/xs"
)

const value = "a value of thirty-three bytes ..."

// variety is how many different operations a client does before it begins again.
const variety = 4096

// work is a kind of operation: make returns the requests of the n-th one that a client does.
type work struct {
	name string
	make func(who, n int) [][]byte
}

// operations are what is measured in a tree of so many nodes.
func operations(nodes int) []work {
	some := func(who, n int) int { return (n*7919 + who*131) % nodes }
	return []work{
		{"read", func(who, n int) [][]byte {
			return [][]byte{message(xs.Read, 0, path(some(who, n))+"\x00")}
		}},
		{"write", func(who, n int) [][]byte {
			return [][]byte{message(xs.Write, 0, path(some(who, n))+"\x00"+value)}
		}},
		{"directory", func(who, n int) [][]byte {
			return [][]byte{message(xs.Directory, 0, fmt.Sprintf("/bench/d%d\x00", some(who, n)/100))}
		}},
		{"mkdir+rm", func(who, n int) [][]byte {
			p := fmt.Sprintf("/bench/d%d/x%d\x00", some(who, n)/100, who)
			return [][]byte{message(xs.Mkdir, 0, p), message(xs.Remove, 0, p)}
		}},
		{"tx of 10 writes", func(who, _ int) [][]byte {
			all := [][]byte{message(xs.TransactionStart, 0, "\x00")}
			for k := range 10 {
				all = append(all, message(xs.Write, 0, fmt.Sprintf("/tx/%d/n%d\x00%s", who, k, value)))
			}
			return append(all, message(xs.TransactionEnd, 0, "T\x00"))
		}},
	}
}

func path(i int) string { return fmt.Sprintf("/bench/d%d/n%d", i/100, i) }

// prepare gives each client its operations, ready to be sent. With several kinds it does one after the other.
func prepare(cs []*client, kinds ...work) {
	for who, c := range cs {
		c.todo, c.op = nil, 0
		for n := range variety {
			c.todo = append(c.todo, kinds[n%len(kinds)].make(who, n))
		}
	}
}

// fill makes the nodes, one request after the other.
func fill(c *client, nodes, clients int) error {
	for k := range nodes {
		if err := c.ask(xs.Write, 0, path(k)+"\x00"+value); err != nil {
			return err
		}
	}
	for w := range clients {
		for k := range 10 {
			if err := c.ask(xs.Write, 0, fmt.Sprintf("/tx/%d/n%d\x00", w, k)); err != nil {
				return err
			}
		}
	}
	return nil
}
