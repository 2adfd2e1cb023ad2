package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mlvm": main, "wait-for": waitFor, "certificates": certificates})
}

// waitFor waits until a file is there and not empty: wait-for FILE.
func waitFor() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for ctx.Err() == nil {
		if st, err := os.Stat(os.Args[1]); err == nil && (st.Size() > 0 || st.Mode()&os.ModeSocket != 0) {
			return
		}
		syscall.Select(0, nil, nil, nil, &syscall.Timeval{Usec: 10_000})
	}
}

// certificates makes those of an authority, a server and a client, with the names that libnbd looks for.
func certificates() {
	var ca *x509.Certificate
	var caKey *ecdsa.PrivateKey
	for i, name := range []string{"ca", "server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IsCA: i == 0,
			BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
		if i == 0 {
			ca, caKey = c, key
		}
		var der, k []byte
		if err == nil {
			der, err = x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
		}
		if err == nil {
			k, err = x509.MarshalPKCS8PrivateKey(key)
		}
		if err == nil {
			err = os.WriteFile(name+"-cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
		}
		if err == nil {
			err = os.WriteFile(name+"-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), 0o600)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// The scripts in testdata/script show what the verbs do that lvm2 has not.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("MLVM_LOCK_DIR", e.WorkDir+"/locks")
			e.Setenv("MLVM_SYSTEM_DIR", e.WorkDir+"/system")
			e.Setenv("MLVM_DEVICES", e.WorkDir+"/a.img,"+e.WorkDir+"/b.img")
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
	})
}
