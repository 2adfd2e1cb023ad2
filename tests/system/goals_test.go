package system

import (
	"regexp"
	"testing"
	"time"

	"morgana/tests/testbed"
)

// TestWebIn24MiB: a web server and its client, with TLS 1.3, HTTP/2 and JSON, live in a domain of 24 MiB.
func TestWebIn24MiB(t *testing.T) {
	h := host(t)
	ctx := within(t, 4*time.Minute)
	d, err := h.StartDomain(ctx, testbed.DomainConfig{Name: "web", Kernel: unikernel(t, h, "morgana/tests/system/webcheck"), MemoryMiB: 24})
	if err != nil {
		t.Fatal(err)
	}
	reason, err := d.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := d.Console.String()
	if reason != "poweroff" || !regexp.MustCompile(`(?m)^webcheck: 65 requests over TLS 1.3 and HTTP/2, `).MatchString(out) {
		t.Errorf("ended with %s and said\n%s", reason, out)
	}
	t.Log(out)
}
