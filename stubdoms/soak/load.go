package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"morgana/unikernel"
	"morgana/xen"
	"morgana/xenstore"
)

// load starts everything that goes on at once. Each worker does its step, which checks its own result, again and again.
func (g *guest) load(ctx context.Context, wg *sync.WaitGroup, goroutines int) {
	start := func(step func(context.Context) error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := step(ctx); err != nil && ctx.Err() == nil {
					g.fail(err)
					return
				}
				g.steps.Add(1)
			}
		})
	}
	for range goroutines {
		start(nap)
	}
	for range 2 {
		start(churn)
		start(digest)
	}
	start(relay)
	start(threads)
	start(files)
	start(nilPanic)
	start(g.journal)
	if g.dom == nil {
		return
	}
	wg.Go(func() { g.echo(ctx) })
	for i := range 3 {
		start(func(ctx context.Context) error { return g.storeTraffic(ctx, i) })
	}
	start(g.watchTraffic)
	start(g.grantTraffic)
	start(g.mapTraffic)
}

// nap checks that a timer is not early, and not lost.
func nap(context.Context) error {
	d := time.Duration(rand.IntN(int(500 * time.Millisecond)))
	t := time.Now()
	time.Sleep(d)
	if late := time.Since(t) - d; late < 0 || late > 20*time.Second {
		return fmt.Errorf("a timer of %v was %v late", d, late)
	}
	return nil
}

type tree struct {
	left, right *tree
	data        []byte
}

func grow(depth int) *tree {
	if depth == 0 {
		return nil
	}
	return &tree{grow(depth - 1), grow(depth - 1), bytes.Repeat([]byte{byte(depth)}, 40)}
}

func (t *tree) count() int {
	if t == nil {
		return 0
	}
	for _, b := range t.data {
		if b != t.data[0] {
			return -1 << 30
		}
	}
	return 1 + t.left.count() + t.right.count()
}

// churn makes garbage, and checks what it holds.
func churn(ctx context.Context) error {
	if n := grow(11).count(); n != 1<<11-1 {
		return fmt.Errorf("a tree of %d nodes, want %d: memory was overwritten", n, 1<<11-1)
	}
	m := map[string]int{}
	for i := range 500 {
		m[fmt.Sprint(i)] = i
	}
	for k, v := range m {
		if fmt.Sprint(v) != k {
			return fmt.Errorf("a map holds %d at %q", v, k)
		}
	}
	return pause(ctx, 20*time.Millisecond)
}

// pause leaves the CPU to the others.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return nil
}

var digestInput, digestWant = func() ([]byte, [32]byte) {
	b := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	return b, sha256.Sum256(b)
}()

// digest keeps the vector registers busy while it is interrupted.
func digest(ctx context.Context) error {
	sum := 0.0
	for i := range 2000 {
		sum += 1 / float64(i+1)
	}
	if sha256.Sum256(digestInput) != digestWant || sum < 8.17836 || sum > 8.17837 {
		return fmt.Errorf("a wrong sum (%v) or digest: registers were lost", sum)
	}
	return pause(ctx, 10*time.Millisecond)
}

// relay sends numbers through a chain of goroutines.
func relay(ctx context.Context) error {
	first := make(chan int)
	last := first
	for range 50 {
		in, out := last, make(chan int)
		go func() {
			defer close(out)
			for v := range in {
				out <- v + 1
			}
		}()
		last = out
	}
	go func() {
		defer close(first)
		for i := range 50 {
			first <- i
		}
	}()
	want := 50
	for v := range last {
		if v != want {
			return fmt.Errorf("the chain gave %d, want %d", v, want)
		}
		want++
	}
	if want != 100 {
		return fmt.Errorf("the chain gave %d numbers of 50", want-50)
	}
	return pause(ctx, 5*time.Millisecond)
}

// threads passes a ball between two threads, and lets both end.
func threads(ctx context.Context) error {
	ping, pong := make(chan int), make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for v := range ping {
			pong <- v * 2
		}
		close(pong)
	}()
	for i := range 20 {
		ping <- i
		if v := <-pong; v != 2*i {
			return fmt.Errorf("the other thread says %d, want %d", v, 2*i)
		}
	}
	close(ping)
	<-pong
	return pause(ctx, 20*time.Millisecond)
}

// files writes, reads and removes a file.
func files(ctx context.Context) error {
	f, err := os.CreateTemp("", "soak")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	data := digestInput[:rand.IntN(len(digestInput))]
	if _, err := f.Write(data); err != nil {
		return err
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, data) {
		return fmt.Errorf("read %d bytes of %d back, %v", len(got), len(data), err)
	}
	return pause(ctx, 10*time.Millisecond)
}

// nilPanic recovers from a fault.
func nilPanic(ctx context.Context) (err error) {
	defer func() {
		var re runtime.Error
		if e, ok := recover().(error); !ok || !errors.As(e, &re) {
			err = fmt.Errorf("a nil dereference gave %v", e)
		}
		_ = pause(ctx, 3*time.Millisecond)
	}()
	var t *tree
	t.data = nil
	return nil
}

// journal writes the arena.
func (g *guest) journal(ctx context.Context) error {
	r := rand.IntN(records)
	before := g.mem.read(r)
	g.mem.write(r, before+1)
	if after := g.mem.read(r); before == 0 || after != before+1 {
		return fmt.Errorf("record %d of the arena went from %d to %d", r, before, after)
	}
	return pause(ctx, time.Millisecond)
}

// storeTraffic writes a value of many sizes and reads it back, now and then in a transaction.
func (g *guest) storeTraffic(ctx context.Context, worker int) error {
	key := fmt.Sprint("data/soak/value-", worker)
	value := strings.Repeat("x", rand.IntN(1500)) + fmt.Sprint(rand.Uint64())
	write := func(s interface {
		Write(context.Context, string, string) error
	},
	) error {
		return s.Write(ctx, key, value)
	}
	var err error
	if rand.IntN(4) == 0 {
		err = g.store.Transact(ctx, func(tx *xenstore.Tx) error { return write(tx) })
	} else {
		err = write(g.store)
	}
	if err != nil {
		return err
	}
	if got, err := g.store.Read(ctx, key); err != nil || got != value {
		return fmt.Errorf("xenstore: %s holds %.40q, %v; want %.40q", key, got, err, value)
	}
	return pause(ctx, 5*time.Millisecond)
}

// watchTraffic sees every change of a key.
func (g *guest) watchTraffic(ctx context.Context) error {
	const key = "data/soak/watched"
	w, err := g.store.Watch(ctx, key)
	if err != nil {
		return err
	}
	defer w.Close()
	for range 10 {
		if err := g.store.Write(ctx, key, "changed"); err != nil {
			return err
		}
	}
	for range 11 { // the first comes of itself
		if _, err := w.Next(ctx); err != nil {
			return fmt.Errorf("a watch event did not come: %w", err)
		}
	}
	return pause(ctx, 50*time.Millisecond)
}

// grantTraffic shares pages that nobody maps.
func (g *guest) grantTraffic(ctx context.Context) error {
	s, err := g.dom.Share(0, 1+rand.IntN(8), xen.ReadOnly)
	if err != nil {
		return err
	}
	for _, b := range s.Bytes() {
		if b != 0 {
			return errors.New("a new page is not empty")
		}
	}
	s.Bytes()[0] = 1
	if err := s.Close(); err != nil {
		return err
	}
	return pause(ctx, 5*time.Millisecond)
}

// mapTraffic maps and copies dom0's pages.
func (g *guest) mapTraffic(ctx context.Context) error {
	v, err := g.store.Read(ctx, keyPages)
	if errors.Is(err, xenstore.ErrNotExist) {
		return pause(ctx, 50*time.Millisecond)
	}
	if err != nil {
		return err
	}
	var refs [sharedPages]xen.GrantRef
	if _, err := fmt.Sscan(v, &refs[0], &refs[1], &refs[2], &refs[3]); err != nil {
		return fmt.Errorf("%s is %q: %w", keyPages, v, err)
	}
	m, err := g.dom.Map(0, refs[:], xen.ReadWrite)
	if err != nil {
		return err
	}
	defer m.Close()
	local := make([]byte, xen.PageSize)
	op := []xen.CopyOp{{Peer: 0, Ref: refs[1], Local: local}}
	if err := g.dom.Copy(op); err != nil {
		return err
	}
	for i, b := range local {
		if b != pattern(1, i) || m.Bytes()[xen.PageSize+i] != b {
			return fmt.Errorf("byte %d of dom0's page is %d mapped, %d copied, want %d", i, m.Bytes()[xen.PageSize+i], b, pattern(1, i))
		}
	}
	return pause(ctx, 20*time.Millisecond)
}

// usage is what must not grow.
type usage struct {
	heap                 uint64 // bytes in use after a collection
	free                 uint64 // pages
	threads, files, vmas uint64
	collections          uint32
	goroutines           int
}

func measure() usage {
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	c := unikernel.Counters()
	return usage{heap: ms.HeapInuse, free: c.FreePages, threads: c.Threads, files: c.Files, vmas: c.VMAs, collections: ms.NumGC, goroutines: runtime.NumGoroutine()}
}

func (u usage) String() string {
	return fmt.Sprintf("heap %d KiB, %d pages free, %d threads, %d files, %d ranges, %d goroutines, %d collections",
		u.heap>>10, u.free, u.threads, u.files, u.vmas, u.goroutines, u.collections)
}

// grownFrom is an error if u is more than before by what no accident explains.
func (u usage) grownFrom(before usage) error {
	if u.heap > before.heap*5/4+4<<20 || u.free+2048 < before.free || u.threads > before.threads+8 || u.files > before.files+8 ||
		u.vmas > before.vmas+32 || u.goroutines > before.goroutines+200 {
		return fmt.Errorf("it grew: from %v to %v", before, u)
	}
	return nil
}
