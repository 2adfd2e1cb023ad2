package nbd

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/block"
	"morgana/block/file"
)

// peer runs a program of somebody else and returns what it says. The test is skipped where there is none.
func peer(t testing.TB, name string, args ...string) string {
	t.Helper()
	need(t, name)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%s is missing; Debian's nbdkit, libnbd-bin and qemu-utils have the peers", p)
		}
	}
}

func uri(socket, export string) string { return "nbd+unix:///" + export + "?socket=" + socket }

func sparse(t testing.TB, size int64) *file.Device {
	t.Helper()
	d, err := file.Create(filepath.Join(t.TempDir(), "disk"), size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestNbdinfo(t *testing.T) {
	d := sparse(t, 4<<20)
	if _, err := d.WriteAt(fill(1<<20, 1), 1<<20); err != nil {
		t.Fatal(err)
	}
	socket := serve(t, Config{Exports: []Export{
		{Name: "vg/a", Description: "the first", Device: d},
		{Name: "vg/b", Device: d, ReadOnly: true},
	}})
	var info struct {
		Protocol   string
		Structured bool
		Exports    []map[string]any
	}
	if err := json.Unmarshal([]byte(peer(t, "nbdinfo", "--json", "--list", "--no-content", uri(socket, ""))), &info); err != nil {
		t.Fatal(err)
	}
	if info.Protocol != "newstyle-fixed" || !info.Structured || len(info.Exports) != 2 {
		t.Fatalf("%+v", info)
	}
	for k, want := range map[string]any{
		"export-name": "vg/a", "description": "the first", "export-size": 4194304., "is_read_only": false, "can_flush": true, "can_fua": true,
		"can_trim": true, "can_zero": true, "can_fast_zero": true, "can_multi_conn": true, "can_df": true, "can_cache": true,
	} {
		if got := info.Exports[0][k]; got != want {
			t.Errorf("%s is %v, want %v", k, got, want)
		}
	}
	if info.Exports[1]["is_read_only"] != true {
		t.Errorf("%v", info.Exports[1])
	}
	// It asks for block sizes when it connects, not when it lists.
	if one := peer(t, "nbdinfo", uri(socket, "vg/a")); !strings.Contains(one, "block_size_minimum: 1\n") ||
		!strings.Contains(one, "block_size_preferred: 4096\n") || !strings.Contains(one, "block_size_maximum: 33554432\n") {
		t.Error(one)
	}
	if got, want := strings.Join(strings.Fields(peer(t, "nbdinfo", "--map", uri(socket, "vg/a"))), " "),
		"0 1048576 3 hole,zero 1048576 1048576 0 data 2097152 2097152 3 hole,zero"; got != want {
		t.Errorf("map: %s\nwant %s", got, want)
	}
}

func TestNbdcopy(t *testing.T) {
	need(t, "nbdcopy")
	in := filepath.Join(t.TempDir(), "in")
	want := make([]byte, 20<<20)
	copy(want[3<<20:], fill(9<<20, 2))
	if err := os.WriteFile(in, want, 0o600); err != nil {
		t.Fatal(err)
	}
	d := sparse(t, 20<<20)
	socket := serve(t, Config{Exports: []Export{{Device: d}}})
	peer(t, "nbdcopy", "--flush", in, uri(socket, ""))
	out := filepath.Join(t.TempDir(), "out")
	peer(t, "nbdcopy", "--connections=4", uri(socket, ""), out)
	got, err := os.ReadFile(out)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("what comes back differs; %v", err)
	}
}

func TestQemu(t *testing.T) {
	need(t, "qemu-io", "qemu-img")
	d := sparse(t, 16<<20)
	socket := serve(t, Config{Exports: []Export{{Name: "x", Device: d}}})
	out := peer(t, "qemu-io", "-f", "raw", "-t", "none", "-c", "write -P 0x5a 1M 2M", "-c", "write -f -P 0xa5 511 1025",
		"-c", "read -P 0x5a 1M 2M", "-c", "read -P 0xa5 511 1025", "-c", "write -z 1M 512k", "-c", "read -P 0 1M 512k",
		"-c", "write -z -u 2M 64k", "-c", "read -P 0 2M 64k", "-c", "discard 2560k 512k", "-c", "flush",
		"-c", "aio_write -P 7 8M 1M", "-c", "aio_write -P 8 9M 1M", "-c", "aio_flush", "-c", "read -P 7 8M 1M", "-c", "read -P 8 9M 1M",
		uri(socket, "x"))
	if strings.Contains(out, "failed") || strings.Contains(out, "error") {
		t.Error(out)
	}
	b := make([]byte, 512)
	if _, err := d.ReadAt(b, 8<<20); err != nil || !bytes.Equal(b, bytes.Repeat([]byte{7}, 512)) {
		t.Errorf("the device has %x; %v", b[:8], err)
	}
	if got := peer(t, "qemu-img", "map", "--output=json", "-f", "raw", uri(socket, "x")); !strings.Contains(got, `"zero": true, "data": false`) {
		t.Errorf("qemu-img sees no holes: %s", got)
	}
	copied := filepath.Join(t.TempDir(), "x.qcow2")
	peer(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri(socket, "x"), copied)
	if got := peer(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", uri(socket, "x"), copied); !strings.Contains(got, "identical") {
		t.Error(got)
	}
}

// libnbd's copier over TCP with TLS and a certificate of its own.
func TestPeerTLS(t *testing.T) {
	need(t, "nbdcopy")
	a := newAuthority(t)
	a.issue("client")
	d := block.NewMem(1<<20, 512)
	s, err := NewServer(Config{Exports: []Export{{Device: d}}, TLS: &tls.Config{
		Certificates: []tls.Certificate{a.issue("server")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool,
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	defer func() { cancel(); <-done }()
	in := filepath.Join(t.TempDir(), "in")
	want := fill(1<<20, 3)
	if err := os.WriteFile(in, want, 0o600); err != nil {
		t.Fatal(err)
	}
	peer(t, "nbdcopy", in, fmt.Sprintf("nbds://%s/?tls-certificates=%s", l.Addr(), a.dir))
	got := make([]byte, 1<<20)
	if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what was copied is not there; %v", err)
	}
}

// Our client with other servers.
func TestClientWithNbdkit(t *testing.T) {
	need(t, "nbdkit")
	c := client(t, nbdkit(t, "memory", "8M"), "")
	want := fill(3<<20, 4)
	if _, err := c.WriteAt(want, 777); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteZeroes(1<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	clear(want[1<<20-777 : 2<<20-777])
	got := make([]byte, len(want))
	if _, err := c.ReadAt(got, 777); err != nil || !bytes.Equal(got, want) {
		t.Errorf("differs; %v", err)
	}
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
	if n, hole, err := c.Hole(6<<20, 2<<20); n < 1 || !hole || err != nil {
		t.Errorf("%d, %v, %v", n, hole, err)
	}
}

// nbdkit starts it with a plugin and returns its socket; it ends with the test.
func nbdkit(t testing.TB, plugin ...string) string {
	t.Helper()
	return start(t, "nbdkit", func(socket string) []string { return append([]string{"-f", "-U", socket}, plugin...) })
}

// start starts a server and waits for its socket.
func start(t testing.TB, program string, args func(socket string) []string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	c := exec.Command(program, args(socket)...)
	c.Stderr = io.Discard
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	for range 500 {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return socket
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not come up", program)
	return ""
}
