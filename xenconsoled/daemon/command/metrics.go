package command

import (
	"context"
	"errors"
	"net"
	"time"

	"morgana/metrics"
	"morgana/metrics/exporter"
	"morgana/xenconsoled/attach"
)

// listTime is how long the daemon, or the console domain behind it, may take to tell of its consoles.
const listTime = 5 * time.Second

// tellMetrics starts what --metrics asks for, and returns what ends it. The daemon is asked over its socket, which is the
// same for its own consoles and those of a console domain.
func (o *options) tellMetrics(ctx context.Context) (func(), error) {
	if o.metrics == "" {
		return func() {}, nil
	}
	if o.config.Socket == "" {
		return nil, errors.New("--metrics: a socket is wanted, so --socket=off cannot be")
	}
	return exporter.Start(ctx, o.metrics, o.collect, nil, func(err error) { o.config.Warn(err.Error()) })
}

func (o *options) collect(_ context.Context, set *metrics.Set) error {
	conn, err := net.DialTimeout("unix", o.config.Socket, listTime)
	if err != nil {
		return err
	}
	c := attach.NewClient(conn)
	defer c.Close()
	if err := conn.SetDeadline(time.Now().Add(listTime)); err != nil {
		return err
	}
	list, err := c.List()
	if err != nil {
		return err
	}
	attach.Collect(set, list)
	return nil
}
