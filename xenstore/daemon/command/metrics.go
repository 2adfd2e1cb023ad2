package command

import (
	"context"
	"errors"
	"sync"

	"morgana/metrics"
	"morgana/metrics/exporter"
	"morgana/xenstore"
	"morgana/xenstore/server"
)

// tellMetrics starts what --metrics asks for, and returns what ends it. The daemon is asked over its socket, as any client
// asks: it is one goroutine that nobody else may look into.
func (o *options) tellMetrics(ctx context.Context) (func(), error) {
	if o.metrics == "" {
		return func() {}, nil
	}
	if o.config.Socket == "" {
		return nil, errors.New("--metrics: a socket is wanted (XENSTORED_PATH)")
	}
	e, err := exporter.Listen(o.metrics, o.collect, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var served sync.WaitGroup
	served.Go(func() {
		if err := e.Serve(ctx); ctx.Err() == nil {
			o.config.Words(err.Error())
		}
	})
	return func() { cancel(); served.Wait() }, nil
}

func (o *options) collect(ctx context.Context, set *metrics.Set) error {
	c, err := xenstore.DialPath(ctx, o.config.Socket)
	if err != nil {
		return err
	}
	defer c.Close()
	text, err := c.Control(ctx, "stats")
	if err != nil {
		return err
	}
	return server.CollectText(set, text)
}
