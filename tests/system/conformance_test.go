package system

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// process builds package pkg as an ordinary static program and returns its name in dom0.
func process(t *testing.T, h *testbed.Host, pkg string) string {
	t.Helper()
	name := filepath.Base(pkg)
	if _, err := image.BuildProgram(filepath.Join(h.Share, name), pkg); err != nil {
		t.Fatal(err)
	}
	return "/share/" + name
}

// conformance runs the program in dom0 and wants the suite to pass.
func conformance(t *testing.T, h *testbed.Host, args ...string) {
	t.Helper()
	prog := process(t, h, "morgana/stubdoms/conformance")
	out, err := h.Script(within(t, 4*time.Minute), prog+" "+strings.Join(args, " ")+" 2>&1")
	t.Logf("dom0, %s:\n%s", strings.Join(args, " "), out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, " 0 failed") {
		t.Fatal("no report of a suite without failures")
	}
}

// TestConformanceDom0 runs the suite over Linux's devices, dom0 with itself.
func TestConformanceDom0(t *testing.T) {
	conformance(t, host(t), "--role=both", "--prepare", "--path=/morgana/dom0")
}

// TestConformanceWithDom0 runs the suite between dom0 and a unikernel, each leading once; in one of them the unikernel
// is killed at every step of a session.
func TestConformanceWithDom0(t *testing.T) {
	h := host(t)
	img := unikernel(t, h, "morgana/stubdoms/conformance")
	start := func(t *testing.T, name, cmdline string) *testbed.Domain {
		t.Helper()
		d, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{Name: name, Kernel: img, MemoryMiB: 96, Cmdline: cmdline})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Run("dom0 leads", func(t *testing.T) {
		const path = "/morgana/lead"
		d := start(t, "follower", "--role=responder --path="+path)
		conformance(t, h, "--role=initiator", "--prepare", "--path="+path)
		if reason, err := d.Wait(within(t, time.Minute)); err != nil || reason != "poweroff" {
			t.Fatalf("unikernel ended with %q, %v; want poweroff\n%s", reason, err, d.Console)
		}
	})
	t.Run("dom0 kills", func(t *testing.T) {
		const path = "/morgana/kill"
		cfg := fmt.Sprintf("name='victim'\ntype='pvh'\nkernel='/share/%s'\nmemory=96\nvcpus=1\ncmdline='--role=responder --path=%s'\n",
			filepath.Base(img), path)
		if _, err := h.Script(within(t, time.Minute), fmt.Sprintf("cat >/share/victim.cfg <<'E'\n%sE\nxl create -q /share/victim.cfg", cfg)); err != nil {
			t.Fatal(err)
		}
		conformance(t, h, "--role=initiator", "--prepare", "--path="+path, "--only=death/", "--machine=false",
			"--kill='xl destroy victim; xl create -q /share/victim.cfg'")
	})
	t.Run("dom0 follows", func(t *testing.T) {
		const path = "/morgana/follow"
		prog := process(t, h, "morgana/stubdoms/conformance")
		if _, err := h.Script(within(t, time.Minute), "(setsid "+prog+" --role=responder --prepare --path="+path+" >/share/follow.log 2>&1 &)"); err != nil {
			t.Fatal(err)
		}
		leads(t, start(t, "leader", "--role=initiator --path="+path))
	})
}

// TestConformanceDomains runs the suite between two unikernels.
func TestConformanceDomains(t *testing.T) {
	h := host(t)
	img := unikernel(t, h, "morgana/stubdoms/conformance")
	const path = "/morgana/two"
	if _, err := h.Script(within(t, time.Minute), "xenstore-rm "+path+"; xenstore-write "+path+" '' && xenstore-chmod "+path+" b0"); err != nil {
		t.Fatal(err)
	}
	var two []*testbed.Domain
	for _, role := range []string{"responder", "initiator"} {
		d, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{
			Name: "two-" + role, Kernel: img, MemoryMiB: 96, Cmdline: "--role=" + role + " --path=" + path,
		})
		if err != nil {
			t.Fatal(err)
		}
		two = append(two, d)
	}
	leads(t, two[1])
	if reason, err := two[0].Wait(within(t, time.Minute)); err != nil || reason != "poweroff" {
		t.Fatalf("responder ended with %q, %v; want poweroff\n%s", reason, err, two[0].Console)
	}
}

// leads waits for the end of the unikernel that leads a suite.
func leads(t *testing.T, d *testbed.Domain) {
	t.Helper()
	reason, err := d.Wait(within(t, 4*time.Minute))
	out := d.Console.String()
	t.Logf("%s:\n%s", d.Name, out)
	if err != nil || reason != "poweroff" {
		t.Fatalf("ended with %q, %v; want poweroff", reason, err)
	}
	if !strings.Contains(out, " 0 failed") {
		t.Fatal("no report of a suite without failures")
	}
}
