package system

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

const soakProgram = "morgana/stubdoms/soak"

// soakLength is half a minute, or what $SOAK says: `make soak` sets half an hour.
func soakLength(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("SOAK")
	if s == "" {
		return 30 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("SOAK: %v; want a duration such as 30m", err)
	}
	return d
}

// soak runs both halves and returns what each said.
func soak(t *testing.T, name, cmdline string, length time.Duration) (guest, dom0 string) {
	t.Helper()
	h := host(t)
	prog := process(t, h, soakProgram)
	img := unikernel(t, h, soakProgram)
	for try := 1; ; try++ {
		ctx := within(t, length+5*time.Minute)
		d, err := h.StartDomain(ctx, testbed.DomainConfig{Name: name, Kernel: img, MemoryMiB: 128, Cmdline: cmdline})
		if err != nil {
			t.Fatal(err)
		}
		dom0, dom0Err := h.Output(ctx, prog, "--role=dom0", "--domain="+strconv.Itoa(d.ID), "--for="+length.String())
		reason, err := d.Wait(ctx)
		guest = d.Console.String()
		switch {
		case err == nil && reason == "poweroff" && dom0Err == nil && strings.Contains(guest, "soak: all is well"):
			return guest, dom0
		case d.EmulatorFault(ctx) && try < 3:
			t.Logf("the emulator failed in try %d; again", try)
			continue
		}
		t.Fatalf("the guest ended with %q, %v; want poweroff; dom0's half: %v\n%s", reason, err, dom0Err, guest)
	}
}

// TestSoak: everything at once, and nothing is lost, hangs or grows.
func TestSoak(t *testing.T) {
	length := soakLength(t)
	guest, dom0 := soak(t, "soak", fmt.Sprintf("--for=%v", length+5*time.Second), length)
	report(t, "soak", fmt.Sprintf("Soak of %v\n%s%s", length, dom0, lastLines(guest, 2)))
}

// TestRestartInPlace: a domain under load restarts in place seventy times ($SOAK: a hundred), most by request, some by a
// death. Its arena, event channel and grant stay, its memory does not grow, and dom0 loses no notification.
func TestRestartInPlace(t *testing.T) {
	restarts := times(70, 100)
	guest, dom0 := soak(t, "restarts", fmt.Sprint("--restarts=", restarts), 8*time.Minute)
	m := regexp.MustCompile(`soak: (\d+) generations, longest restart (\S+),`).FindStringSubmatch(guest)
	if m == nil || m[1] != strconv.Itoa(restarts+1) {
		t.Fatalf("want %d generations:\n%s", restarts+1, guest)
	}
	if worst, err := time.ParseDuration(m[2]); err != nil || worst <= 0 || worst > 5*time.Second {
		t.Errorf("the longest restart took %q, %v; want a second at most, on a busy emulator five", m[2], err)
	}
	for _, death := range []string{"panic: a panic of the soak's", "invalid memory address or nil pointer dereference", "morgana: exit status 3"} {
		if !strings.Contains(guest, death) {
			t.Errorf("no restart after %q", death)
		}
	}
	if !strings.Contains(dom0, "lost 0") || !strings.Contains(dom0, fmt.Sprintf("generations %d\n", restarts)) {
		t.Errorf("dom0 says %q, want nothing lost over %d generations", dom0, restarts)
	}
	report(t, "restart", fmt.Sprintf("Restart in place, %d times under load\n%s%s", restarts, dom0, lastLines(guest, 2)))
}

// TestRestartStorm: a program that dies at each start is given up.
func TestRestartStorm(t *testing.T) {
	h := host(t)
	d, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{Name: "storm", Kernel: unikernel(t, h, soakProgram), MemoryMiB: 32, Cmdline: "--storm"})
	if err != nil {
		t.Fatal(err)
	}
	reason, err := d.Wait(within(t, 2*time.Minute))
	out := d.Console.String()
	if err != nil || reason != "crash" || !strings.Contains(out, "generation 5 of a storm") || !strings.Contains(out, "restarted 5 times within 10 s; giving up") {
		t.Fatalf("ended with %q, %v; want crash after the fifth restart\n%s", reason, err, out)
	}
	if strings.Contains(out, "generation 6") {
		t.Errorf("a sixth restart:\n%s", out)
	}
}

func lastLines(s string, n int) string {
	l := strings.SplitAfter(strings.TrimRight(s, "\n")+"\n", "\n")
	l = l[:len(l)-1]
	return strings.Join(l[max(0, len(l)-n):], "")
}
