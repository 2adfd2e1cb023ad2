// Package feed looks at a host again and again for whoever wants to know: the terminal's table, a page in a browser. While
// nobody waits nothing is looked at.
package feed

import (
	"context"
	"sync"
	"time"

	"morgana/cmd/stubdom/internal/host/model"
)

// Feed hands out snapshots, each with what happened a second since the one before, and keeps what was told. Safe for
// concurrent use.
type Feed struct {
	source model.Source
	every  time.Duration

	mu      sync.Mutex
	last    *model.Snapshot
	number  uint64
	fresh   chan struct{} // closed and made anew with each snapshot, and with each word
	wanted  chan struct{} // capacity 1: somebody waits
	waiting int
	story   []Word
	words   uint64
	failure error
}

// Word is something that happened.
type Word struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // "done", "failed", "word"
	Text string    `json:"text"`
}

// storyMax is how many words are kept.
const storyMax = 100

// New makes a feed of a source, which is looked at so often at most.
func New(source model.Source, every time.Duration) *Feed {
	return &Feed{source: source, every: every, fresh: make(chan struct{}), wanted: make(chan struct{}, 1)}
}

// Source is what the feed looks at.
func (f *Feed) Source() model.Source { return f.source }

// Run looks until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	for {
		begun := time.Now()
		s, err := f.source.Look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f.mu.Lock()
		f.failure = err
		if err == nil {
			s.Since(f.last)
			f.last = s
		}
		f.changedLocked()
		f.number++
		f.mu.Unlock()
		select {
		case <-time.After(f.every - time.Since(begun)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for !f.awaited() {
			select {
			case <-f.wanted:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

func (f *Feed) awaited() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting > 0
}

func (f *Feed) changedLocked() {
	close(f.fresh)
	f.fresh = make(chan struct{})
}

// Tell adds something that happened.
func (f *Feed) Tell(kind, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.story = append(f.story, Word{At: time.Now(), Kind: kind, Text: model.Clean(text, model.LineMax)})
	if len(f.story) > storyMax {
		f.story = append([]Word(nil), f.story[len(f.story)-storyMax:]...)
	}
	f.words++
	f.changedLocked()
}

// Seen is how far somebody has followed a feed; the zero value is the beginning.
type Seen struct{ number, words uint64 }

// News is what somebody has not seen.
type News struct {
	Snapshot *model.Snapshot // nil if there is none that is new
	Words    []Word
	Failure  error // of the last look
}

// Next waits for what is new after seen, and moves seen there.
func (f *Feed) Next(ctx context.Context, seen *Seen) (News, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting++
	defer func() { f.waiting-- }()
	select {
	case f.wanted <- struct{}{}:
	default:
	}
	for f.number == seen.number && f.words == seen.words {
		fresh := f.fresh
		f.mu.Unlock()
		select {
		case <-fresh:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return News{}, context.Cause(ctx)
		}
	}
	n := News{Failure: f.failure}
	if f.number != seen.number {
		n.Snapshot = f.last
	}
	missed := min(f.words-seen.words, uint64(len(f.story)))
	n.Words = append(n.Words, f.story[uint64(len(f.story))-missed:]...)
	*seen = Seen{f.number, f.words}
	return n, nil
}
