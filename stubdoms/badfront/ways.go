package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"morgana/blkback/attack"
	"morgana/xen/ring"
)

// way is a way to misbehave. do says what came of it.
type way struct {
	name, about string
	do          func(f *front, c *connection, requests int) (string, error)
}

// ways are all ways: those of making wrong requests, then those of breaking everything else.
func ways() []way {
	var all []way
	for _, w := range attack.Ways() {
		all = append(all, way{w.Name, w.About, func(f *front, c *connection, n int) (string, error) {
			err := f.exchange(c, n, func(slot []byte, id uint64) attack.Verdict { return w.Slot(&c.Frontend, slot, id) })
			return "all answered", err
		}})
	}
	return append(all,
		way{"changing", "requests and segments that change while they are served", (*front).changing},
		way{"storm", "notifications without end and without a reason", (*front).storm},
		way{"nodes", "another protocol, ring and port in xenstore after connecting", (*front).nodes},
		way{"producer", "a producer index that jumps beyond the ring", (*front).producer},
		way{"teardown", "ring and pages taken away with requests under way", (*front).teardown},
		way{"states", "a state that jumps about", (*front).states},
		way{"vanish", "the domain ends with requests under way; only if it is asked for", (*front).vanish},
	)
}

func (f *front) changing(c *connection, n int) (string, error) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	flips := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			// The slots that are being served, and all data; not the indexes, which would end the connection.
			if c.use(func() error {
				for i := range 200 {
					c.memory[ring.HeaderSize+(i*37+flips)%(32*c.ABI.SlotSize())] ^= 1 << (i & 7)
					c.Data[(i*4099+flips*512)%len(c.Data)] ^= 0xff
				}
				return nil
			}) != nil {
				return
			}
			flips += 200
			time.Sleep(10 * time.Microsecond)
		}
	})
	// Answers may come to identities that we never gave, and in numbers that are right all the same.
	kinds := attack.Ways()
	w := kinds[len(kinds)-1]
	err := f.exchange(c, n, func(slot []byte, id uint64) attack.Verdict {
		w.Slot(&c.Frontend, slot, id)
		return attack.Either
	})
	close(stop)
	wg.Wait()
	return fmt.Sprintf("%d bytes changed under it", flips*2), err
}

func (f *front) storm(c *connection, n int) (string, error) {
	n *= 10
	for range n {
		if err := c.event.Notify(); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d notifications", n), nil
}

func (f *front) nodes(c *connection, n int) (string, error) {
	ctx, cancel := context.WithTimeout(c.waits, patience)
	defer cancel()
	for k, v := range map[string]string{
		"protocol": "x86_32-abi", "ring-ref": "1", "event-channel": "4000000000", "ring-page-order": "31",
		"multi-queue-num-queues": "1000000", "feature-persistent": "0", "mode": "w", "sectors": "999999999",
	} {
		if err := f.store.Write(ctx, f.path+"/"+k, v); err != nil {
			return "", err
		}
	}
	return "the connection goes on", f.honest(c, min(n, 200))
}

func (f *front) producer(c *connection, _ int) (string, error) {
	err := c.use(func() error {
		prod, err := ring.Word(c.memory, 0)
		if err == nil {
			prod.Add(uint32(33 + f.rng.IntN(1<<20)))
		}
		return err
	})
	if err == nil {
		err = c.event.Notify()
	}
	if err != nil {
		return "", err
	}
	select {
	case <-c.gone:
		return "the backend ended the connection", nil
	case <-time.After(patience):
		return "", fmt.Errorf("the backend keeps a ring with an impossible index after %v", patience)
	}
}

// fill sends a ring full of requests and waits for nothing.
func (f *front) fill(c *connection) error {
	kinds := attack.Ways()
	w := kinds[len(kinds)-1]
	err := c.use(func() error {
		for c.ring.Free() > 0 {
			f.sent++
			w.Slot(&c.Frontend, c.slot[:], uint64(f.sent))
			c.ring.Put(c.slot[:c.ABI.SlotSize()])
		}
		c.ring.Push()
		return nil
	})
	if err != nil {
		return err
	}
	return c.event.Notify()
}

func (f *front) teardown(c *connection, _ int) (string, error) {
	if err := f.fill(c); err != nil {
		return "", err
	}
	_ = c.use(func() error {
		_ = c.event.Close()
		for _, g := range c.grants {
			_ = g.Close() // in use or not
		}
		return nil
	})
	// Without a word in xenstore so far. Closing is what makes the backend let go.
	return f.comesBack(c)
}

func (f *front) states(c *connection, _ int) (string, error) {
	if err := f.fill(c); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 5 {
		s := []string{"1", "2", "3", "4", "5", "6", "7", "8", "99", "-1", "", "four"}[f.rng.IntN(12)]
		if err := f.store.Write(ctx, f.path+"/state", s); err != nil {
			return "", err
		}
		time.Sleep(time.Duration(f.rng.IntN(20)) * time.Millisecond)
	}
	return f.comesBack(c)
}

// comesBack closes the connection in xenstore, where our own driver does not know what we did, and begins anew with
// another driver.
func (f *front) comesBack(c *connection) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.store.Write(ctx, f.path+"/state", "6"); err != nil {
		return "", err
	}
	f.halt()
	f.start()
	select {
	case <-c.gone:
		return "connected again", nil
	case <-ctx.Done():
		return "", errors.New("the driver keeps a connection that is over")
	}
}

func (f *front) vanish(c *connection, _ int) (string, error) {
	if err := f.fill(c); err != nil {
		return "", err
	}
	fmt.Println("badfront: vanish: gone")
	os.Exit(0)
	return "", nil
}
