package command

import (
	"testing"
	"time"
)

// The options of Xen's daemon, as getopt_long takes them.
func TestParse(t *testing.T) {
	o := &options{}
	args := []string{
		"-vi", "--log=all", "--log-d", "/l", "--pid-file=/p", "-thv", "-t", "guest", "-o", "keep", "--replace-escape",
		"--log-format=json", "--rotate-size", "10M", "--rotate-age=24h", "--rotate-keep=3", "--rate=2k", "--run-dir=/r", "--socket", "off", "--domain=consoles",
	}
	if err := parse(args, o); err != nil {
		t.Fatal(err)
	}
	c := &o.config
	if !o.verbose || !o.interactive || !c.LogGuests || !c.LogHypervisor || c.LogDir != "/l" || o.pidFile != "/p" || !c.StampGuests ||
		!c.StampHypervisor || !c.Keep || !c.Files.Escape || !c.Files.JSON || c.Files.MaxSize != 10<<20 || c.Files.MaxAge != 24*time.Hour ||
		c.Files.Keep != 3 || c.Rate != 2048 || c.RunDir != "/r" || c.Socket != "off" || c.Domain != "consoles" {
		t.Errorf("%+v", o)
	}
	o = &options{}
	if err := parse([]string{"--log=all", "--log=none", "--timestamp=guest", "-tnone", "-o", "discard"}, o); err != nil {
		t.Fatal(err)
	}
	if o.config.LogGuests || o.config.LogHypervisor || o.config.StampGuests || o.config.Keep {
		t.Errorf("what was said last does not count: %+v", o)
	}
	for _, args := range [][]string{
		{"-Z"},
		{"--none"},
		{"-t"},
		{"-t", "some"},
		{"--log", "some"},
		{"--log-"},
		{"--log-dir"},
		{"--verbose=1"},
		{"-o", "x"},
		{"word"},
		{"--"},
		{"-"},
		{"--rate=x"},
		{"--rate=-1"},
		{"--rotate-size=9999999999G"},
		{"--rotate-age=1"},
		{"--rotate-age=1ms"},
		{"--rotate-keep=x"},
		{"--log-format=xml"},
		{"--r"},
		{"--domain="},
		{"--domain=0"},
	} {
		if err := parse(args, &options{}); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
