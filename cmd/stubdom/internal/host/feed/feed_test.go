package feed_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"morgana/cmd/stubdom/internal/host/feed"
	"morgana/cmd/stubdom/internal/host/model"
)

// counting is a source whose xenstore has 10 requests more at each look, a second apart.
type counting struct {
	model.Source
	looks atomic.Uint64
}

func (c *counting) Look(context.Context) (*model.Snapshot, error) {
	n := c.looks.Add(1)
	return &model.Snapshot{At: time.Unix(int64(n), 0), Store: model.Store{Served: true, Requests: 10 * n}}, nil
}

// Who waits gets snapshots with rates, and the words that were told; while nobody waits nobody looks.
func TestFeed(t *testing.T) {
	src := &counting{}
	f := feed.New(src, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	f.Tell("done", "a step\x1b[2J")
	var seen feed.Seen
	var words []feed.Word
	rate := 0.0
	for range 5 {
		n, err := f.Next(ctx, &seen)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, n.Words...)
		if n.Snapshot != nil {
			rate = n.Snapshot.Store.PerSec
		}
	}
	if len(words) != 1 || words[0].Text != "a step�[2J" {
		t.Errorf("the words are %v", words)
	}
	if rate != 10 {
		t.Errorf("%v requests a second, want 10", rate)
	}
	was := src.looks.Load()
	time.Sleep(50 * time.Millisecond)
	if is := src.looks.Load(); is > was+2 {
		t.Errorf("%d looks while nobody waits", is-was)
	}
	cancel()
	<-done
	if _, err := f.Next(ctx, &feed.Seen{}); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}
