package system

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
	"morgana/xen/xentest"
)

const conformanceProgram = "morgana/stubdoms/conformance"

// quick keeps the measurements short.
const quick = "--rounds=100"

// process builds package pkg as an ordinary static program and returns its name in dom0.
func process(t *testing.T, h *testbed.Host, pkg string, buildArgs ...string) string {
	t.Helper()
	name := filepath.Base(pkg)
	if len(buildArgs) > 0 {
		name += fmt.Sprint("-", time.Now().UnixNano())
	}
	if _, err := image.BuildProgram(filepath.Join(h.Share, name), pkg, buildArgs...); err != nil {
		t.Fatal(err)
	}
	return h.Path(name)
}

// parseReport finds the suite's report, one line of JSON, in what the program wrote.
func parseReport(t *testing.T, out string) *xentest.Report {
	t.Helper()
	i := strings.Index(out, `{"results":`)
	if i < 0 {
		t.Fatalf("no report in\n%s", out)
	}
	var rep xentest.Report
	if err := json.NewDecoder(strings.NewReader(out[i:])).Decode(&rep); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return &rep
}

// dom0Leads runs the suite's initiator in dom0.
func dom0Leads(t *testing.T, h *testbed.Host, prog string, args ...string) *xentest.Report {
	t.Helper()
	out, err := h.Script(within(t, 6*time.Minute), prog+" --json "+quick+" "+strings.Join(args, " ")+" 2>"+h.Path("progress.log")+"; true")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, `{"results":`) {
		log, _ := os.ReadFile(filepath.Join(h.Share, "progress.log"))
		t.Fatalf("no report:\n%s%s", out, log)
	}
	return parseReport(t, out)
}

// dom0Follows starts the suite's responder in dom0, until the test is over.
func dom0Follows(t *testing.T, h *testbed.Host, prog string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = h.Command(ctx, nil, io.Discard, io.Discard, append([]string{prog, "--role=responder", "--prepare"}, args...)...)
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// passed wants a report of the whole suite, but for the cases of death where nobody could be killed, without failures.
func passed(t *testing.T, what string, rep *xentest.Report) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "Conformance suite of the driver layer: %s\n", what)
	_ = rep.WriteText(&b)
	report(t, "conformance-"+strings.ReplaceAll(what, " ", "-"), b.String())
	if err := rep.Err(); err != nil {
		t.Error(err)
	}
	ran := 0
	for _, r := range rep.Results {
		if r.OK() {
			ran++
		}
		if r.NotRun != "" && !strings.HasPrefix(r.Case, "death/") {
			t.Errorf("%s was not run: %s", r.Case, r.NotRun)
		}
	}
	if ran == 0 {
		t.Error("no case ran")
	}
}

// conformer starts a unikernel that plays a part of the suite.
func conformer(t *testing.T, h *testbed.Host, name, img, role, path string, args ...string) *testbed.Domain {
	t.Helper()
	d, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{
		Name: name, Kernel: img, MemoryMiB: 96, Cmdline: strings.Join(append([]string{"--role=" + role, "--path=" + path, quick}, args...), " "),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// powersOff wants a domain to end well.
func powersOff(t *testing.T, d *testbed.Domain, patience time.Duration) {
	t.Helper()
	if reason, err := d.Wait(within(t, patience)); err != nil || reason != "poweroff" {
		t.Fatalf("%s ended with %q, %v; want poweroff\n%s", d.Name, reason, err, d.Console)
	}
}

// TestConformanceDom0 runs the suite over Linux's devices, dom0 with itself.
func TestConformanceDom0(t *testing.T) {
	h := host(t)
	passed(t, "dom0 with itself", dom0Leads(t, h, process(t, h, conformanceProgram), "--role=both", "--prepare", "--path=/morgana/dom0"))
}

// TestConformanceWithDom0 runs the suite between dom0 and a unikernel, each leading once; then the unikernel is killed
// at every step of a session.
func TestConformanceWithDom0(t *testing.T) {
	h := host(t)
	img := unikernel(t, h, conformanceProgram)
	prog := process(t, h, conformanceProgram)
	t.Run("dom0 leads", func(t *testing.T) {
		const path = "/morgana/lead"
		d := conformer(t, h, "follower", img, "responder", path)
		passed(t, "dom0 leads a unikernel", dom0Leads(t, h, prog, "--role=initiator", "--prepare", "--path="+path))
		powersOff(t, d, time.Minute)
	})
	t.Run("unikernel leads", func(t *testing.T) {
		const path = "/morgana/follow"
		dom0Follows(t, h, prog, "--path="+path)
		d := conformer(t, h, "leader", img, "initiator", path, "--json")
		powersOff(t, d, 6*time.Minute)
		passed(t, "a unikernel leads dom0", parseReport(t, d.Console.String()))
	})
	t.Run("deaths", func(t *testing.T) {
		const path = "/morgana/kill"
		cfg := fmt.Sprintf("name='morgana-victim'\ntype='pvh'\nkernel='%s'\nmemory=32\nvcpus=1\ntsc_mode='native'\ncmdline='--role=responder --path=%s'\n",
			h.Path(filepath.Base(img)), path)
		if err := os.WriteFile(filepath.Join(h.Share, "victim.cfg"), []byte(cfg), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Output(within(t, time.Minute), "xl", "create", "-q", h.Path("victim.cfg")); err != nil {
			t.Fatal(err)
		}
		passed(t, "the unikernel dies at every step", dom0Leads(t, h, prog, "--role=initiator", "--prepare", "--path="+path, "--only=death/", "--machine=false",
			"--kill='xl destroy morgana-victim; xl create -q "+h.Path("victim.cfg")+"'"))
		_, _ = h.Output(within(t, time.Minute), "xl", "destroy", "morgana-victim") // gone by itself, if the suite came to its end
	})
}

// TestConformanceDomains runs the suite between two unikernels.
func TestConformanceDomains(t *testing.T) {
	h := host(t)
	img := unikernel(t, h, conformanceProgram)
	const path = "/morgana/two"
	if _, err := h.Script(within(t, time.Minute), "xenstore-write "+path+" '' && xenstore-chmod "+path+" b0"); err != nil {
		t.Fatal(err)
	}
	follower := conformer(t, h, "two-responder", img, "responder", path)
	leader := conformer(t, h, "two-initiator", img, "initiator", path, "--json")
	powersOff(t, leader, 6*time.Minute)
	passed(t, "two unikernels", parseReport(t, leader.Console.String()))
	powersOff(t, follower, time.Minute)
}

// TestDefectsAreCaught makes each world wrong on purpose: the suite notices. The simulator's own test of this is in
// xen/sim.
func TestDefectsAreCaught(t *testing.T) {
	h := host(t)
	good := process(t, h, conformanceProgram)
	program, err := image.BuildProgram(filepath.Join(t.TempDir(), "program"), conformanceProgram)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	caught := func(t *testing.T, world, defect string, rep *xentest.Report) {
		t.Helper()
		failed := rep.Failed()
		if len(failed) == 0 {
			t.Fatalf("the suite passed %s that is wrong by %s", world, defect)
		}
		fmt.Fprintf(&b, "%-10s %-22s caught by %s: %.120s\n", world, defect, failed[0].Case, failed[0].Err)
	}
	for _, c := range []struct{ defect, only string }{
		{"events-swallowed", "event/bind"},
		{"read-only-ignored", "grant/read-only"},
		{"grants-kept", "grant/revoke"},
		{"copy-unchecked", "grant/bad-refs"},
	} {
		t.Run("devxen "+c.defect, func(t *testing.T) {
			bad := process(t, h, conformanceProgram, "-tags=defect", "-ldflags=-X morgana/xen/devxen.defectName="+c.defect)
			caught(t, "devxen", c.defect, dom0Leads(t, h, bad, "--role=both", "--prepare", "--path=/morgana/wrong", "--timeout=8s", "--only="+c.only, "--machine=false"))
		})
	}
	for _, c := range []struct {
		defect, only string
		follows      bool // the side that is wrong is the responder
	}{
		{"lose-events", "event/bind", false},
		{"write-read-only-grant", "grant/read-only", false},
		{"reuse-mapped-page", "grant/revoke-mapped", false},
		{"dirty-pages", "grant/map", false},
		{"watch-lost", "store/watch-order", false},
		{"copy-unchecked", "grant/bad-refs", true},
	} {
		t.Run("kernel "+c.defect, func(t *testing.T) {
			kernel, err := image.BuildDefective(filepath.Join(t.TempDir(), "kernel"), c.defect)
			if err != nil {
				t.Fatal(err)
			}
			img, _, err := image.JoinKernel(kernel, program, image.Options{Name: "conformance"})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(h.Share, c.defect+".elf")
			if err := os.WriteFile(file, img, 0o755); err != nil {
				t.Fatal(err)
			}
			path := "/morgana/wrong-" + c.defect
			if c.follows {
				d := conformer(t, h, "wrong-"+c.defect, file, "responder", path, "--timeout=8s")
				caught(t, "kernel", c.defect, dom0Leads(t, h, good, "--role=initiator", "--prepare", "--path="+path, "--machine=false", "--timeout=8s", "--only="+c.only))
				powersOff(t, d, time.Minute)
				return
			}
			dom0Follows(t, h, good, "--path="+path, "--timeout=8s")
			d := conformer(t, h, "wrong-"+c.defect, file, "initiator", path, "--json", "--machine=false", "--timeout=8s", "--only="+c.only)
			if _, err := d.Wait(within(t, 2*time.Minute)); err != nil {
				t.Fatal(err)
			}
			caught(t, "kernel", c.defect, parseReport(t, d.Console.String()))
		})
	}
	report(t, "conformance-defects", b.String())
}
