// Command webcheck is a web server and its client in one program, over net.Pipe because a domain has no network of its
// own: TLS 1.3, HTTP/2, JSON both ways, concurrent requests, a large body by digest. It tells on its last line.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	requests = 64
	workers  = 4
	bigBody  = 1 << 20 // bytes
)

type question struct {
	Number int               `json:"number"`
	Words  map[string]string `json:"words"`
}

type answer struct {
	Square int    `json:"square"`
	Echo   string `json:"echo"`
	Digest string `json:"digest,omitempty"`
	Proto  string `json:"proto"`
}

func main() {
	if err := run(); err != nil {
		fmt.Println("webcheck:", err)
		os.Exit(1)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Printf("webcheck: %d requests over TLS 1.3 and HTTP/2, %d KiB from the system, %d collections\n", requests+1, m.Sys>>10, m.NumGC)
}

func run() error {
	cert, pool, err := certificate()
	if err != nil {
		return err
	}
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(l, "", "") }()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "webcheck", MinVersion: tls.VersionTLS13},
		DialContext:       l.dial,
	}}
	errs := make(chan error, workers)
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range numbers {
				if err := ask(client, n); err != nil {
					errs <- err
					for range numbers {
					}
				}
			}
		})
	}
	for n := range requests {
		numbers <- n
	}
	close(numbers)
	wg.Wait()
	close(errs)
	if err := errors.Join(<-errs, upload(client)); err != nil {
		return err
	}
	if err := server.Shutdown(context.Background()); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ask", func(w http.ResponseWriter, r *http.Request) {
		var q question
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(answer{Square: q.Number * q.Number, Echo: q.Words["name"], Proto: r.Proto})
	})
	mux.HandleFunc("POST /digest", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if _, err := io.Copy(h, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(answer{Digest: hex.EncodeToString(h.Sum(nil)), Proto: r.Proto})
	})
	return mux
}

func ask(client *http.Client, n int) error {
	name := fmt.Sprintf("domain %d <&> \u00e9", n)
	b, err := json.Marshal(question{n, map[string]string{"name": name}})
	if err != nil {
		return err
	}
	a, err := post(client, "/ask", b)
	if err == nil && (a.Square != n*n || a.Echo != name) {
		err = fmt.Errorf("request %d: got %+v", n, a)
	}
	return err
}

func upload(client *http.Client) error {
	body := bytes.Repeat([]byte("0123456789abcdef"), bigBody/16)
	sum := sha256.Sum256(body)
	a, err := post(client, "/digest", body)
	if err == nil && a.Digest != hex.EncodeToString(sum[:]) {
		err = fmt.Errorf("digest of the upload: got %s", a.Digest)
	}
	return err
}

func post(client *http.Client, path string, body []byte) (a answer, err error) {
	r, err := client.Post("https://webcheck"+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		return a, err
	}
	switch {
	case r.StatusCode != http.StatusOK:
		return a, fmt.Errorf("%s: %s", path, r.Status)
	case r.TLS == nil || r.TLS.Version != tls.VersionTLS13:
		return a, fmt.Errorf("%s: not TLS 1.3", path)
	case r.ProtoMajor != 2 || a.Proto != "HTTP/2.0":
		return a, fmt.Errorf("%s: %s and %s, not HTTP/2", path, r.Proto, a.Proto)
	}
	return a, nil
}

// certificate makes a key and a certificate that vouches for itself.
func certificate() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "webcheck"}, DNSNames: []string{"webcheck"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool, nil
}

// pipeListener hands the server's end of each dialled pipe to Accept.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for a client.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr names the listener.
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "webcheck" }
