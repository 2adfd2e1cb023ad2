// Package exporter serves metrics to Prometheus: GET /metrics over HTTP/1.1, one request a connection. It is small on
// purpose: daemons that want to stay small have it inside, without the weight of a web server.
//
//	e, err := exporter.Listen("127.0.0.1:9101", collect, log)
//	err = e.Serve(ctx)
//
// Without a host in the address it listens for this machine alone. Nothing that is asked changes anything; a client is
// bounded in time and in what it sends, and there are few at once.
//
// Source: RFC 9112.
package exporter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"morgana/metrics"
)

// Collect adds what there is to a set. It may be called by several goroutines at once.
type Collect func(context.Context, *metrics.Set) error

// Exporter is a listener and what it serves.
type Exporter struct {
	listener net.Listener
	collect  Collect
	log      *slog.Logger
}

// Bounds of what a client may do.
const (
	clientsMax  = 8
	requestMax  = 8 << 10 // bytes of a request
	requestTime = 5 * time.Second
	answerTime  = 20 * time.Second // collecting included
)

// Listen listens. The log, which may be nil, is told when collecting failed.
func Listen(address string, collect Collect, log *slog.Logger) (*Exporter, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("metrics: address %q: %w; 127.0.0.1:9101 is one", address, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &Exporter{l, collect, log}, nil
}

// Start listens and serves until stop is called, which waits for those that are being answered. failed is told if serving
// ends before that.
func Start(ctx context.Context, address string, collect Collect, log *slog.Logger, failed func(error)) (stop func(), err error) {
	e, err := Listen(address, collect, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var served sync.WaitGroup
	served.Go(func() {
		if err := e.Serve(ctx); ctx.Err() == nil {
			failed(fmt.Errorf("metrics are not told any more: %w", err))
		}
	})
	return func() { cancel(); served.Wait() }, nil
}

// Address is where it listens.
func (e *Exporter) Address() string { return e.listener.Addr().String() }

// Serve serves until ctx ends or the listener fails, and returns why.
func (e *Exporter) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { e.listener.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	places := make(chan struct{}, clientsMax)
	for {
		conn, err := e.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return context.Cause(ctx)
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of descriptors
			time.Sleep(100 * time.Millisecond)
			continue
		}
		select {
		case places <- struct{}{}:
			all.Go(func() {
				defer func() { <-places }()
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				e.answer(ctx, conn)
			})
		default:
			conn.Close()
		}
	}
}

// answer reads a request and answers it.
func (e *Exporter) answer(ctx context.Context, conn net.Conn) {
	if conn.SetReadDeadline(time.Now().Add(requestTime)) != nil || conn.SetWriteDeadline(time.Now().Add(answerTime)) != nil {
		return
	}
	method, target, err := readRequest(conn)
	status, kind, body := "200 OK", "text/plain; charset=utf-8", []byte(nil)
	switch {
	case err != nil:
		status, body = "400 Bad Request", []byte("a request of HTTP/1.1 is wanted\n")
	case method != "GET" && method != "HEAD":
		status, body = "405 Method Not Allowed", []byte("the metrics can be read\n")
	case target == "/metrics":
		kind = "text/plain; version=0.0.4; charset=utf-8"
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		var set metrics.Set
		if err := e.collect(ctx, &set); err != nil {
			e.log.Error("metrics cannot be collected", "error", err)
			status, kind, body = "503 Service Unavailable", "text/plain; charset=utf-8", []byte("the metrics cannot be collected; the log says why\n")
			break
		}
		body = set.Append(nil)
	case target == "/":
		body = []byte("the metrics are at /metrics\n")
	default:
		status, body = "404 Not Found", []byte("the metrics are at /metrics\n")
	}
	head := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n", status, kind, len(body))
	if method == "HEAD" {
		body = nil
	}
	_, _ = conn.Write(append([]byte(head), body...)) // who left needs no answer
}

// readRequest reads a request's head, and what it asks for, without a query.
func readRequest(r io.Reader) (method, target string, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, requestMax))
	lines.Buffer(nil, requestMax)
	if !lines.Scan() {
		return "", "", errors.Join(lines.Err(), io.ErrUnexpectedEOF)
	}
	f := strings.Fields(lines.Text())
	if len(f) != 3 || !strings.HasPrefix(f[2], "HTTP/1.") {
		return "", "", fmt.Errorf("%.60q is no request", lines.Text())
	}
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			target, _, _ = strings.Cut(f[1], "?")
			return f[0], target, nil
		}
	}
	return "", "", errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}
