package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"morgana/tests/xenstore/peers"
	"morgana/xen/wire/xs"
)

const value = "a value of thirty-three bytes ..."

// An operation is one or more requests: next returns the request after so many, nil when it is done. It is told of the
// last reply.
type operation struct {
	name string
	next func(c *client, who int, reply []byte) []byte
}

// table measures all daemons with some number of nodes.
type table struct {
	names   []string
	slice   time.Duration
	turns   int
	nodes   int
	daemons []*peers.Daemon
	clients [][]*client
}

func (t *table) path(i int) string { return fmt.Sprintf("/bench/d%d/n%d", i/100, i) }

func (t *table) operations() []operation {
	once := func(make func(c *client, who int) []byte) func(*client, int, []byte) []byte {
		return func(c *client, who int, _ []byte) []byte {
			if c.step > 0 {
				return nil
			}
			return make(c, who)
		}
	}
	some := func(c *client, who int) int { return (c.n*7919 + who*131) % t.nodes }
	return []operation{
		{"read", once(func(c *client, who int) []byte { return message(xs.Read, 0, t.path(some(c, who))+"\x00") })},
		{"write", once(func(c *client, who int) []byte { return message(xs.Write, 0, t.path(some(c, who))+"\x00"+value) })},
		{"directory", once(func(c *client, who int) []byte {
			return message(xs.Directory, 0, fmt.Sprintf("/bench/d%d\x00", some(c, who)/100))
		})},
		{"mkdir+rm", func(c *client, who int, _ []byte) []byte {
			switch c.step {
			case 0:
				return message(xs.Mkdir, 0, fmt.Sprintf("/bench/d%d/x%d\x00", some(c, who)/100, who))
			case 1:
				return message(xs.Remove, 0, fmt.Sprintf("/bench/d%d/x%d\x00", some(c, who)/100, who))
			}
			return nil
		}},
		{"tx of 10 writes", func(c *client, who int, reply []byte) []byte {
			switch {
			case c.step == 0:
				return message(xs.TransactionStart, 0, "\x00")
			case c.step == 1:
				n, _ := strconv.ParseUint(string(bytes.TrimRight(reply, "\x00")), 10, 32)
				c.tx = uint32(n)
				fallthrough
			case c.step <= 10:
				return message(xs.Write, c.tx, fmt.Sprintf("/tx/%d/n%d\x00%s", who, c.step, value))
			case c.step == 11:
				return message(xs.TransactionEnd, c.tx, "T\x00")
			}
			return nil
		}},
	}
}

const many = 8

func (t *table) run(start func(string) (*peers.Daemon, error)) error {
	runtime.LockOSThread()
	defer func() {
		for i, d := range t.daemons {
			for _, c := range t.clients[i] {
				c.close()
			}
			d.Kill()
		}
	}()
	fmt.Printf("\n%d nodes%*s", t.nodes, 22-len(strconv.Itoa(t.nodes)), "")
	for _, n := range t.names {
		fmt.Printf("%38s", n)
	}
	fmt.Printf("%10s\n", "ours/C")
	loads := make([]float64, len(t.names))
	for i, n := range t.names {
		d, err := start(n)
		if err != nil {
			return err
		}
		t.daemons = append(t.daemons, d)
		var cs []*client
		for range many {
			c, err := connect(d.Socket())
			if err != nil {
				return err
			}
			cs = append(cs, c)
		}
		t.clients = append(t.clients, cs)
		begin := time.Now()
		for k := range t.nodes {
			if _, err := cs[0].ask(message(xs.Write, 0, t.path(k)+"\x00"+value)); err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
		}
		loads[i] = float64(t.nodes) / time.Since(begin).Seconds()
		for w := range many {
			for k := range 11 {
				if _, err := cs[0].ask(message(xs.Write, 0, fmt.Sprintf("/tx/%d/n%d\x00", w, k))); err != nil {
					return err
				}
			}
		}
	}
	t.row("load, 1 client", loads, nil)
	for _, count := range []int{1, many} {
		for _, op := range t.operations() {
			rates := make([]float64, len(t.names))
			lat := make([]times, len(t.names))
			for range t.turns {
				for i := range t.names {
					rate, l, err := measure(t.clients[i][:count], op, t.slice)
					if err != nil {
						return fmt.Errorf("%s: %s: %w", t.names[i], op.name, err)
					}
					rates[i] = max(rates[i], rate)
					lat[i] = append(lat[i], l...)
				}
			}
			t.row(fmt.Sprintf("%s, %d client%s", op.name, count, plural(count)), rates, lat)
		}
	}
	fmt.Printf("%-28s", "memory, MB")
	rss := make([]float64, len(t.names))
	for i, d := range t.daemons {
		rss[i] = resident(d.Cmd.Process.Pid)
		fmt.Printf("%38.1f", rss[i])
	}
	if len(rss) > 1 {
		fmt.Printf("%10.2f", rss[0]/rss[1])
	}
	fmt.Println()
	return nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func (t *table) row(name string, rates []float64, lat []times) {
	fmt.Printf("%-28s", name)
	for i, r := range rates {
		s := fmt.Sprintf("%.0f/s", r)
		if lat != nil {
			s += fmt.Sprintf(" %5.0f %6.0f %7.0f µs", us(lat[i].at(0.5)), us(lat[i].at(0.999)), us(lat[i].max()))
		}
		fmt.Printf("%38s", s)
	}
	if len(rates) > 1 {
		fmt.Printf("%10.2f", rates[0]/rates[1])
	}
	fmt.Println()
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

// measure lets clients do an operation over and over, each one request at a time.
func measure(cs []*client, op operation, d time.Duration) (float64, times, error) {
	lat := make(times, 0, 1<<16)
	done := 0
	begin := time.Now()
	end := begin.Add(d)
	replies := make([][]byte, len(cs))
	for i, c := range cs {
		c.step = 0
		if err := c.send(op.next(c, i, nil)); err != nil {
			return 0, nil, err
		}
		c.sent = time.Now()
	}
	running := len(cs)
	for running > 0 {
		for i, c := range cs {
			if c.step < 0 {
				continue
			}
			h, b, _, err := c.receive()
			if err != nil {
				return 0, nil, err
			}
			if h.Op == xs.ErrorReply && string(b) != "EAGAIN\x00" {
				return 0, nil, fmt.Errorf("reply %q", b)
			}
			now := time.Now()
			lat = append(lat, now.Sub(c.sent))
			replies[i] = b
			c.step++
			msg := op.next(c, i, b)
			if msg == nil {
				if h.Op != xs.ErrorReply {
					done++
				}
				c.n++
				c.step = 0
				if now.After(end) {
					c.step = -1
					running--
					continue
				}
				msg = op.next(c, i, nil)
			}
			if err := c.send(msg); err != nil {
				return 0, nil, err
			}
			c.sent = now
		}
	}
	return float64(done) / time.Since(begin).Seconds(), lat, nil
}

// resident is a process's resident memory, in megabytes.
func resident(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return n / 1024
		}
	}
	return 0
}

// watching measures writes while there are watches, of the node and of others.
func watching(names []string, counts []int, slice time.Duration, turns int, start func(string) (*peers.Daemon, error)) error {
	fmt.Printf("\n%-28s", "watches")
	for _, n := range names {
		fmt.Printf("%38s", n)
	}
	fmt.Printf("%10s\n", "ours/C")
	daemons := make([]*peers.Daemon, len(names))
	writers, watchers := make([]*client, len(names)), make([]*client, len(names))
	for i, n := range names {
		d, err := start(n)
		if err != nil {
			return err
		}
		defer d.Kill()
		daemons[i] = d
		if writers[i], err = connect(d.Socket()); err != nil {
			return err
		}
		if watchers[i], err = connect(d.Socket()); err != nil {
			return err
		}
	}
	have := 0
	for _, count := range counts {
		for ; have < count; have++ {
			for i := range names {
				if _, err := watchers[i].ask(message(xs.Watch, 0, fmt.Sprintf("/watched/%d\x00token%d\x00", have, have))); err != nil {
					return err
				}
			}
		}
		rates := make([]float64, len(names))
		lat := make([]times, len(names))
		op := operation{"write", func(c *client, who int, _ []byte) []byte {
			if c.step > 0 {
				return nil
			}
			return message(xs.Write, 0, "/elsewhere\x00"+value)
		}}
		for range turns {
			for i := range names {
				rate, l, err := measure(writers[i:i+1], op, slice)
				if err != nil {
					return err
				}
				rates[i] = max(rates[i], rate)
				lat[i] = append(lat[i], l...)
			}
		}
		(&table{names: names}).row(fmt.Sprintf("write, %d watches", count), rates, lat)
	}
	return nil
}
