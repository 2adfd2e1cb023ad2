package command

import (
	"context"
	"errors"

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
	return exporter.Start(ctx, o.metrics, o.collect, nil, func(err error) { o.config.Words(err.Error()) })
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
