package sim_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"morgana/xen/sim"
	"morgana/xen/wire/xs"
)

// The simulated store gives the answers that Debian's xenstored 4.17 gave to the same requests, in the same order
// with their events; only generations of DIRECTORY_PART are its own.
func TestStoreAnswersAsXenstored(t *testing.T) {
	text, err := os.ReadFile("../wire/xs/testdata/xenstored-4.17.txt")
	if err != nil {
		t.Fatal(err)
	}
	h := sim.New(1)
	defer h.Close()
	conn := h.Dom0().OpenStore()
	defer conn.Close()
	send := func(b []byte) {
		t.Helper()
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() []byte {
		t.Helper()
		b := make([]byte, xs.HeaderSize+xs.PayloadMax)
		if _, err := io.ReadFull(conn, b[:xs.HeaderSize]); err != nil {
			t.Fatal(err)
		}
		head, err := xs.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[:xs.HeaderSize+int(head.Len)]
		if _, err := io.ReadFull(conn, b[xs.HeaderSize:]); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "#" {
			continue
		}
		want, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		if f[1] == ">" {
			if f[0] == "directory-too-big" {
				for i := range 400 {
					send(xs.AppendMessage(nil, xs.Header{Op: xs.Mkdir, Req: 1}, fmt.Appendf(nil, "/big/child-%06d\x00", i)))
					receive()
				}
			}
			send(want)
			continue
		}
		got := receive()
		if masked(t, got) != masked(t, want) {
			t.Errorf("%s:\n  xenstored %q\n  sim       %q", f[0], want, got)
		}
	}
}

// masked is a message without what a daemon is free to choose.
func masked(t *testing.T, b []byte) string {
	t.Helper()
	h, p, _, err := xs.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.Op == xs.DirectoryPart {
		part, err := xs.ParsePart(p)
		if err != nil {
			t.Fatal(err)
		}
		// How many names fit depends on how long the generation is.
		part.Names = part.Names[:min(len(part.Names), 250)]
		return fmt.Sprint(h.Op, h.Req, h.Tx, part.Names, part.Last)
	}
	return string(b)
}
