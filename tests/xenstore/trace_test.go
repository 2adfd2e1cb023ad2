package xenstore

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/tests/xenstore/peers"
	"morgana/xenstore"
	"morgana/xenstore/storetest"
)

// The log of a daemon: connections and times made alike.
var (
	traceMessage = regexp.MustCompile(`^(IN|OUT) \S+ \d{8} \d\d:\d\d:\d\d (\S+ \(.*\))$`)
	traceObject  = regexp.MustCompile(`^(CREATE|DESTROY) (connection|watch|transaction) \S+$`)
)

// messages are the lines of a log about requests, replies and events, and about connections and watches.
func messages(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if m := traceMessage.FindStringSubmatch(line); m != nil {
			all = append(all, m[1]+" "+m[2])
		} else if m := traceObject.FindStringSubmatch(line); m != nil && m[2] == "watch" {
			all = append(all, m[1]+" "+m[2])
		}
	}
	return all
}

// With a trace file each request, reply and event is logged, as xenstored does; CONTROL log switches it, CONTROL logfile
// changes the file.
func TestTraceFile(t *testing.T) {
	p := others(t)
	const script = `
s1 MKDIR /a|
s1 WRITE /a/b|value
s1 READ /a/b|
s1 READ /none|
s1 WATCH /a|token|
s1 WRITE /a/b|two
s1 DIRECTORY /a|
s1 GET_PERMS /a|
s1 TRANSACTION_START |
s1#1 WRITE /a/c|three
s1#1 TRANSACTION_END T|
s1 RM /a|
s1 UNWATCH /a|token|
s1 CONTROL log|off|
s1 READ /silent|
s1 CONTROL log|on|
s1 READ /spoken|
`
	log := func(d *peers.Daemon, file string) []string {
		t.Helper()
		player := storetest.NewPlayer(d)
		defer player.Close()
		for line := range strings.Lines(strings.TrimSpace(script)) {
			if _, err := player.Do(strings.TrimSpace(line)); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		// The last reply may have come before it is in the log. Each request has one.
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			all := messages(t, file)
			open := 0
			for _, line := range all {
				switch {
				case strings.HasPrefix(line, "IN "):
					open++
				case strings.HasPrefix(line, "OUT ") && !strings.HasPrefix(line, "OUT WATCH_EVENT "):
					open--
				}
			}
			if open == 0 || time.Now().After(end) {
				return all
			}
		}
	}
	h := host(t)
	theirs := filepath.Join(h.Dir, "log", "trace")
	d, err := p.StartC(h, "-T", theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Kill()
	want := log(d, theirs)
	h = host(t)
	mine := filepath.Join(h.Dir, "log", "trace")
	got := log(startOurs(t, h, "-T", mine), mine)
	if len(want) < 30 {
		t.Fatalf("xenstored logs %q", want)
	}
	// xenstored logs what goes out when it is written, which may be after the next request came in.
	for _, kind := range []string{"IN ", "OUT ", "CREATE ", "DESTROY "} {
		other := func(line string) bool { return !strings.HasPrefix(line, kind) }
		if d := cmp.Diff(slices.DeleteFunc(slices.Clone(want), other), slices.DeleteFunc(slices.Clone(got), other)); d != "" {
			t.Errorf("- xenstored, + ours:\n%s", d)
		}
	}
}

// A guest cannot write to the terminal of who reads the log; what the daemon itself has to say is there, and so are
// warnings of memory.
func TestTraceOfGuests(t *testing.T) {
	h := host(t)
	file := filepath.Join(h.Dir, "log", "trace")
	startOurs(t, h)
	ctx := within(t, 30*time.Second)
	c := dial(t, ctx, h)
	if _, err := c.Control(ctx, "logfile", file); err != nil {
		t.Fatal(err)
	}
	newGuest(t, ctx, c, h, 5)
	g, err := h.Guest(5)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	gc := xenstore.NewClient(g)
	defer gc.Close()
	if err := gc.Write(ctx, "x", "\x1b[2J\nOUT forged (OK )"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Control(ctx, "quota-soft", "set", "memory", "3000"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"a", "b", "c", "d"} {
		if err := gc.Write(ctx, n, strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Control(ctx, "print", "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Control(ctx, "memreport"); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`WRITE (x \x1b[2J\x0aOUT forged (OK ))`, "CREATE connection", "dom5", "domain 5 exceeds its soft limit of memory",
		"control: hello", "goroutines ",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.ContainsRune(string(b), 0x1b) {
		t.Error("an escape sequence is in the log")
	}
	if t.Failed() {
		t.Logf("%s", b)
	}
}
