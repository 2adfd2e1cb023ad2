package nbd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"morgana/block"
	"morgana/nbd/wire"
)

// An authority signs certificates, and keeps them in a directory in the way that libnbd and qemu look for them.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.sign(a.cert, "ca")
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(c *x509.Certificate, name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.key == nil {
		a.key = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	if c == a.cert {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+"-cert.pem", "CERTIFICATE", der)
	a.write(name+"-key.pem", "PRIVATE KEY", k)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) write(name, kind string, b []byte) {
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a certificate for name, also the host name "localhost".
func (a *authority) issue(name string) tls.Certificate {
	return a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, name)
}

func TestTLS(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	socket := serve(t, Config{Exports: []Export{{Name: "x", Device: block.NewMem(1<<20, 512)}}, TLS: &tls.Config{
		Certificates: []tls.Certificate{a.issue("server")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool,
	}})
	mine := a.issue("client")
	open := func(c *tls.Config) error {
		cl, err := NewClient(context.Background(), dial(t, socket), ClientOptions{Export: "x", TLS: c})
		if err != nil {
			return err
		}
		defer cl.Close()
		b := []byte("secret")
		if _, err := cl.WriteAt(b, 4096); err != nil {
			return err
		}
		_, err = cl.ReadAt(b, 4096)
		return err
	}
	if err := open(&tls.Config{RootCAs: a.pool, ServerName: "localhost", Certificates: []tls.Certificate{mine}}); err != nil {
		t.Error(err)
	}
	var refused *ReplyError
	if err := open(nil); !errors.As(err, &refused) || refused.Reply != wire.RepErrTLSReqd {
		t.Errorf("without TLS: %v", err)
	}
	if err := open(&tls.Config{RootCAs: a.pool, ServerName: "localhost"}); err == nil {
		t.Error("a client without certificate is served")
	}
	if err := open(&tls.Config{RootCAs: stranger.pool, ServerName: "localhost", Certificates: []tls.Certificate{mine}}); err == nil {
		t.Error("the client takes any server")
	}
	if err := open(&tls.Config{RootCAs: a.pool, ServerName: "localhost", Certificates: []tls.Certificate{stranger.issue("client")}}); err == nil {
		t.Error("a stranger's certificate is taken")
	}
}

// What a client said in the clear counts for nothing under TLS, and what it sends in the same breath as STARTTLS ends
// the connection: an attacker may have put it there.
func TestNothingCrossesIntoTLS(t *testing.T) {
	a := newAuthority(t)
	socket := serve(t, Config{
		Exports: []Export{{Device: block.NewMem(1<<20, 512)}}, TLS: &tls.Config{Certificates: []tls.Certificate{a.issue("server")}},
		HandshakeTimeout: 5 * time.Second,
	})
	c := dial(t, socket)
	say := append([]byte{0, 0, 0, 3}, wire.AppendOption(nil, wire.OptStartTLS, nil)...)
	c.Write(wire.AppendOption(say, wire.OptList, nil))
	b := make([]byte, 1000)
	c.SetReadDeadline(time.Now().Add(3 * time.Second))
	n := 0
	for {
		k, err := c.Read(b[n:])
		n += k
		if isTimeout(err) {
			t.Fatal("the server keeps the connection")
		}
		if err != nil {
			break
		}
	}
	if n != wire.HelloSize {
		t.Errorf("the server answers %x", b[wire.HelloSize:n])
	}
}
