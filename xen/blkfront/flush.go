package blkfront

import "sync"

// flushes lets those who flush at the same time share: whoever comes while a flush is under way needs one that begins
// after he came, and all of them need only one. The zero value is ready.
type flushes struct {
	mu      sync.Mutex
	running bool
	ended   chan struct{} // closed when the running one ends; made by the one who leads the next
	next    *flush        // begins then
}

// flush is one that several wait for.
type flush struct {
	done chan struct{} // closed with err
	err  error
}

// do runs f, or waits for one that began after the call of do.
func (g *flushes) do(f func() error) error {
	g.mu.Lock()
	if w := g.next; w != nil {
		g.mu.Unlock()
		<-w.done
		return w.err
	}
	if !g.running {
		g.running = true
		g.mu.Unlock()
		defer g.end()
		return f()
	}
	w := &flush{done: make(chan struct{})}
	ended := make(chan struct{})
	g.next, g.ended = w, ended
	g.mu.Unlock()
	<-ended
	g.mu.Lock()
	g.next, g.running = nil, true // who comes now comes too late for this one
	g.mu.Unlock()
	w.err = f()
	g.end()
	close(w.done)
	return w.err
}

// end lets the next one begin.
func (g *flushes) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = false
	if g.ended != nil {
		close(g.ended)
		g.ended = nil
	}
}
