package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// TestBoot: the emulated host is up in seconds, with what Xen needs for all kinds of guests.
func TestBoot(t *testing.T) {
	h := host(t)
	t.Logf("the host booted in %v", h.BootTime.Round(100*time.Millisecond))
	out, err := h.Output(within(t, time.Minute), "xl", "info")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "hvm") || !strings.Contains(out, "hap") {
		t.Errorf("no hardware-assisted guests here:\n%s", out)
	}
	// On an idle machine it is under 15 s; what else runs here is not the host's fault.
	if !h.Own && (h.BootTime <= 0 || h.BootTime > 2*time.Minute) {
		t.Errorf("it took %v to boot", h.BootTime)
	}
}

// TestShare: the same files on both sides, at once.
func TestShare(t *testing.T) {
	h := host(t)
	ctx := within(t, time.Minute)
	want := bytes.Repeat([]byte("both ways\n"), 100_000)
	if err := os.WriteFile(filepath.Join(h.Share, "to-dom0"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Output(ctx, "sha256sum", h.Path("to-dom0")); err != nil {
		t.Fatal(err)
	} else if here, err := exec.CommandContext(ctx, "sha256sum", filepath.Join(h.Share, "to-dom0")).Output(); err != nil || out[:64] != string(here[:64]) {
		t.Errorf("there it is %s, here %s, %v", out, here, err)
	}
	if _, err := h.Script(ctx, "tac to-dom0 >from-dom0"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(h.Share, "from-dom0")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, %v; want %d", len(got), err, len(want))
	}
}

// TestCommand: a command's output, its exit status, its input, and its end with the context.
func TestCommand(t *testing.T) {
	h := host(t)
	var out, errs bytes.Buffer
	code, err := h.Command(within(t, time.Minute), strings.NewReader("typed"), &out, &errs, "sh", "-c", "cat; echo no >&2; exit 5")
	if err != nil || code != 5 || out.String() != "typed" || errs.String() != "no\n" {
		t.Errorf("status %d, %v, output %q, errors %q", code, err, &out, &errs)
	}
	if _, err := h.Output(within(t, time.Minute), "no-such-program"); err == nil || !strings.Contains(err.Error(), "127") {
		t.Errorf("a program that is not there: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := h.Output(ctx, "sh", "-c", "exec -a morgana-sleeper sleep 1000"); err == nil {
		t.Error("a command outlived its context")
	}
	for alive := true; alive; {
		out, err := h.Script(within(t, time.Minute), "ps -eo args | grep -c '^[m]organa-sleeper' || true")
		if err != nil {
			t.Fatal(err)
		}
		alive = strings.TrimSpace(out) != "0"
	}
}

// TestXenLog: what guests and Xen say of a failure is in the log that a failed test shows.
func TestXenLog(t *testing.T) {
	h := host(t)
	ctx := within(t, time.Minute)
	d, err := h.StartDomain(ctx, testbed.DomainConfig{Name: "says", Kernel: unikernel(t, h, "morgana/tests/system/says"), Cmdline: "words-for-the-log", MemoryMiB: 32})
	if err != nil {
		t.Fatal(err)
	}
	if reason, err := d.Wait(ctx); err != nil || reason != "poweroff" {
		t.Fatalf("ended with %q, %v; want poweroff\n%s", reason, err, d.Console)
	}
	log := h.XenLog(ctx)
	if want := fmt.Sprintf("(d%d) words-for-the-log", d.ID); !strings.Contains(log, want) {
		t.Errorf("no %q in the log:\n%s", want, log)
	}
	if !h.Own && !strings.Contains(log, "BED: up") {
		t.Error("the serial console's output is missing")
	}
}

// TestOwnHost: inside of a dom0, package testbed uses the Xen that it is on: the same consoles and reasons, with
// xenconsoled's logs and without, and it leaves the host's other domains alone.
func TestOwnHost(t *testing.T) {
	h, bystander := startTicker(t, "panic", "") // a name that ownhost uses too
	prog := process(t, h, "morgana/tests/system/ownhost")
	if err := h.ShareStock(); err != nil {
		t.Fatal(err)
	}
	img := h.Path(filepath.Base(unikernel(t, h, "morgana/stubdoms/runtimecheck")))
	for _, c := range []struct {
		name string
		args []string
		want map[string][2]string // what each domain's reason is, and what is on its console
	}{
		{"logs", []string{"--stock=" + h.Dir, img, "panic", "linux"}, map[string][2]string{
			"panic": {"crash", "panic: assignment to entry in nil map"},
			"linux": {"poweroff", "a file of its own\nfrom-Linux\nGUEST exit 0"},
		}},
		{"no logs", []string{"--nologs", img, "panic", "exit0"}, map[string][2]string{
			"panic": {"crash", "panic: assignment to entry in nil map"},
			"exit0": {"poweroff", ""},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := within(t, 5*time.Minute)
			before := domains(t, h)
			out, err := h.Output(ctx, append([]string{prog}, c.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][2]string{}
			for dec := json.NewDecoder(strings.NewReader(out)); ; {
				var e struct{ Name, Reason, Console string }
				if err := dec.Decode(&e); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%v in\n%s", err, out)
				}
				got[e.Name] = [2]string{e.Reason, e.Console}
			}
			for name, want := range c.want {
				if got[name][0] != want[0] || !strings.Contains(got[name][1], want[1]) {
					t.Errorf("%s: got %q, want %q", name, got[name], want)
				}
			}
			if t.Failed() {
				logs, _ := h.Script(within(t, time.Minute), "tail /var/log/xen/xl-*.log")
				t.Log(logs)
			}
			if after := domains(t, h); !slices.Equal(before, after) {
				t.Errorf("domains were %q, are %q", before, after)
			}
			n, _ := lastTick(bystander)
			if _, err := bystander.Console.WaitFor(ctx, fmt.Sprintf("tick %d ", n+2)); err != nil {
				log, _ := h.Script(within(t, time.Minute), "cat /var/log/xen/xl-"+bystander.Name+".log; xl list")
				t.Errorf("the host's other domain: %v\n%s", err, log)
			}
		})
	}
}

// domains are the numbers of the host's domains.
func domains(t *testing.T, h *testbed.Host) []string {
	t.Helper()
	out, err := h.Script(within(t, time.Minute), "xl list | awk 'NR > 1 {print $2}'")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// TestShapes: a test author chooses the host: CPUs, the store's daemon or none, disks for dom0.
func TestShapes(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(disk, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	boot := func(t *testing.T, o testbed.Options) *testbed.Host {
		h, err := testbed.Start(within(t, 3*time.Minute), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		return h
	}
	t.Run("oxenstored", func(t *testing.T) {
		h := boot(t, testbed.Options{MemoryMiB: 2048, Dom0MemoryMiB: 768, CPUs: 3, Dom0CPUs: 2, Xenstored: "oxenstored", Disks: []string{disk}})
		out, err := h.Script(within(t, 2*time.Minute), `nproc; xl info | awk '/^nr_cpus/ {print $3}'; pgrep -c oxenstored
			xenstore-read /local/domain/0/name
			pvcreate -qq /dev/vdb && pvs --noheadings -o pv_name; echo marked | dd of=/dev/vdb bs=1M seek=8 conv=fsync status=none`)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(out); !slices.Equal(got, []string{"2", "3", "1", "Domain-0", "/dev/vdb"}) {
			t.Errorf("the host says %q", got)
		}
		d, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{Name: "hello", Kernel: unikernel(t, h, "morgana/stubdoms/hello"), MemoryMiB: 6})
		if err != nil {
			t.Fatal(err)
		}
		if reason, err := d.Wait(within(t, time.Minute)); err != nil || reason != "poweroff" {
			t.Errorf("hello ended with %q, %v", reason, err)
		}
	})
	if b, err := os.ReadFile(disk); err != nil || !bytes.Equal(b[8<<20:][:6], []byte("marked")) {
		t.Errorf("dom0's write did not reach the disk's file (%v)", err)
	}
	t.Run("none", func(t *testing.T) {
		h := boot(t, testbed.Options{MemoryMiB: 1536, Dom0MemoryMiB: 768, Xenstored: "none"})
		out, err := h.Script(within(t, time.Minute), "pgrep -c 'xenstored|xenconsoled'; xl dmesg | grep -c 'Xen version'")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(out); !slices.Equal(got, []string{"0", "1"}) {
			t.Errorf("daemons and Xen's greeting: %q", got)
		}
	})
}

// TestXenhost: make xenhost's program gives a shell in dom0 that can be left.
func TestXenhost(t *testing.T) {
	dir := t.TempDir()
	prog := filepath.Join(dir, "xenhost")
	if _, err := image.BuildProgram(prog, "morgana/cmd/xenhost"); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 4*time.Minute)
	c := exec.CommandContext(ctx, prog, "--share", dir)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := newScreen()
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	out.waitFor(t, ctx, "BED: up")
	out.waitFor(t, ctx, "# ")
	// What is typed is echoed: the answer must be told from the question.
	fmt.Fprintln(in, "echo sum-$((6*7)); xl list | awk '/Domain-0/ {print $1 \"-is-\" $2}'; echo there >/share/left-here")
	out.waitFor(t, ctx, "sum-42")
	out.waitFor(t, ctx, "Domain-0-is-0")
	fmt.Fprintln(in, "exit")
	if err := c.Wait(); err != nil {
		t.Errorf("it left with %v\n%s", err, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "left-here")); err != nil || strconv.Quote(string(b)) != `"there\n"` {
		t.Errorf("the share holds %q, %v", b, err)
	}
}
