package command

import (
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
