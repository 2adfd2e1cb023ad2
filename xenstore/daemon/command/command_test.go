package command

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"morgana/xenstore/store"
)

func TestParse(t *testing.T) {
	fresh := func() *options {
		o := &options{}
		o.config.Limits = store.DefaultLimits()
		return o
	}
	o := fresh()
	if err := parse([]string{
		"-NV", "-E", "5", "-S6", "--watch-nb=7", "--perm-nb", "8", "-Q", "memory=9", "-Qoutstanding=10", "-q", "memory=11",
		"-w", "watch-event=12", "-I", "-Ioff", "--internal-db=off", "--pid", "/p", "-M", "99999", "-t3", "-K", "--journal", "/j",
	}, o); err != nil {
		t.Fatal(err)
	}
	l := store.DefaultLimits()
	l.Nodes, l.NodeSize, l.Watches, l.Perms, l.Memory, l.Outstanding, l.SoftMemory, l.Tx = 5, 6, 7, 8, 9, 10, 11, 3
	if o.config.Limits != l || o.config.EventTimeout != 12*time.Second || !o.foreground || o.pidFile != "/p" || !o.config.KeepOrphans ||
		o.config.Journal != "/j" {
		t.Errorf("%+v", o)
	}
	for _, args := range [][]string{
		{"-Z"},
		{"--none"},
		{"-E"},
		{"-E", "x"},
		{"-E", "-5"},
		{"--entry-nb"},
		{"--entry"},
		{"-Q", "nodes"},
		{"-Q", "nodes=1"},
		{"word"},
		{"-w", "memory=1"},
		{"-j", "x"},
		{"--"},
	} {
		if err := parse(args, fresh()); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

// In the background the daemon speaks to the system's log; one that does not listen, or is full, does not stop it.
func TestSystemLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	l, err := newSystemLog(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Write([]byte("unheard\n")); err != nil {
		t.Error(err)
	}
	heard, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	for range 10_000 { // more than it holds
		if _, err := l.Write([]byte("domain 5 is bad\n")); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	n, err := heard.Read(b)
	if want := fmt.Sprintf("<29>xenstored[%d]: domain 5 is bad\n", os.Getpid()); err != nil || string(b[:n]) != want {
		t.Errorf("%q, %v; want %q", b[:n], err, want)
	}
}
