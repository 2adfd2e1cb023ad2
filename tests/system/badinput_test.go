package system

import (
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// TestBadSettings: a domain whose configuration or command line cannot work says so in a line that names the remedy, and
// one that has more than it needs works.
func TestBadSettings(t *testing.T) {
	h := host(t)
	hello := unikernel(t, h, "morgana/stubdoms/hello")
	for _, c := range []struct {
		name   string
		config testbed.DomainConfig
		says   string
		reason string
	}{
		{"two-cpus", testbed.DomainConfig{MemoryMiB: 16, Extra: []string{"vcpus=2"}}, "hello from a domain of its own\n", "poweroff"},
		{"open-quote", testbed.DomainConfig{MemoryMiB: 16, Cmdline: "one 'two"}, "morgana: command line: a quote is not closed; close it, or write \\\" for a quote itself\n", "crash"},
		{"option", testbed.DomainConfig{MemoryMiB: 16, Cmdline: "unikernel.retsart=1"}, "morgana: command line: unknown option unikernel.retsart=1; there are unikernel.seed=HEX and unikernel.restart=0|1\n", "crash"},
		{"variable", testbed.DomainConfig{MemoryMiB: 16, Cmdline: "env==x"}, "morgana: command line: env= wants NAME=VALUE after it, as in env=GODEBUG=gctrace=1\n", "crash"},
		{"binary", testbed.DomainConfig{MemoryMiB: 16, Cmdline: "= \u00e9 ~`#;|$(x) -\t=\\"}, "hello from a domain of its own\n", "poweroff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := within(t, 2*time.Minute)
			c.config.Name, c.config.Kernel = "bad-"+c.name, hello
			d, err := h.StartDomain(ctx, c.config)
			if err != nil {
				t.Fatal(err)
			}
			reason, err := d.Wait(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if out := d.Console.String(); !strings.Contains(out, c.says) || reason != c.reason {
				t.Errorf("ended with %s and said\n%s\nwant %s and %q", reason, out, c.reason, c.says)
			}
		})
	}
}

// TestXLRefuses: what Xen's tool stack itself cannot start, it refuses, in words that docs/development.md explains;
// stubdom config writes none of it.
func TestXLRefuses(t *testing.T) {
	h := host(t)
	for _, c := range []struct {
		name   string
		config testbed.DomainConfig
		files  []image.File
		want   string
	}{
		{"pv", testbed.DomainConfig{Type: "pv", MemoryMiB: 32}, nil, "no loader found: Invalid kernel"},
		{"small", testbed.DomainConfig{MemoryMiB: 8}, []image.File{{Name: "/ballast", Mode: 0o600, Data: make([]byte, 40<<20)}}, "segment kernel too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := within(t, 2*time.Minute)
			c.config.Name, c.config.Kernel = "xl-"+c.name, unikernel(t, h, "morgana/stubdoms/hello", c.files...)
			d, err := h.StartDomain(ctx, c.config)
			if err == nil {
				d.Destroy(ctx)
				t.Fatal("it was started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
