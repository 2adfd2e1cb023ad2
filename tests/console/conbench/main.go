// Command conbench measures our console daemon beside Xen's, turn by turn on one machine: how many bytes a second a
// flooding guest gets rid of with its log on and nobody attached, how much CPU that costs the daemon, and how long it
// takes to attach.
//
//	go run ./tests/console/conbench [-turns 3]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"morgana/tests/ratios"
	"morgana/tests/xenstore/peers"
	"morgana/xen"
	"morgana/xenconsoled/attach"
	"morgana/xenstore"
)

func main() {
	turns := flag.Int("turns", 3, "how often the daemons take turns")
	flag.Parse()
	if err := run(*turns); err != nil {
		fmt.Fprintln(os.Stderr, "conbench:", err)
		os.Exit(1)
	}
}

// subject is a daemon that is measured, and what came out: the best of the turns.
type subject struct {
	name  string
	args  []string
	ours  bool
	bytes int // to flood with

	rate    float64       // bytes a second
	cpu     time.Duration // for a MiB
	attach  time.Duration // until a terminal shows the first byte
	connect time.Duration // until a connection has it
}

func run(turns int) error {
	p, err := peers.Find()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/dev/shm", "cb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "ours")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "morgana/tests/console/ours")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	all := []*subject{
		{name: "Xen's", args: []string{"--log=guest"}, bytes: 1 << 20},
		{name: "Xen's, with times", args: []string{"--log=guest", "-t", "guest"}, bytes: 1 << 20},
		{name: "ours", args: []string{"--log=guest"}, bytes: 32 << 20, ours: true},
		{name: "ours, no rate", args: []string{"--log=guest", "--rate=0"}, bytes: 64 << 20, ours: true},
		{name: "ours, no rate, with times", args: []string{"--log=guest", "--rate=0", "-t", "guest"}, bytes: 64 << 20, ours: true},
	}
	for turn := range turns {
		for i, s := range all {
			if err := s.measure(p, program, filepath.Join(dir, fmt.Sprintf("%d-%d", turn, i))); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	print(all)
	return keep(all)
}

func print(all []*subject) {
	fmt.Printf("%-28s %12s %8s %12s %8s %14s %14s\n", "console daemon", "flood KB/s", "ratio", "CPU us/MiB", "ratio", "xl attach us", "xconsole us")
	base := all[0]
	for _, s := range all {
		connect := "-"
		if s.ours {
			connect = strconv.FormatInt(s.connect.Microseconds(), 10)
		}
		fmt.Printf("%-28s %12.0f %8.1f %12d %8.2f %14d %14s\n", s.name, s.rate/1e3, s.rate/base.rate, s.cpu.Microseconds(),
			float64(s.cpu)/float64(base.cpu), s.attach.Microseconds(), connect)
	}
}

// keep keeps what was measured for the table of all parts: ours with times beside Xen's with times.
func keep(all []*subject) error {
	var rows []ratios.Row
	add := func(what, unit string, ours, xens float64, less bool) {
		rows = append(rows, ratios.Row{Part: "xenconsoled", Peer: "xenconsoled (C)", What: what, Unit: unit, Ours: ours, Other: xens, Less: less})
	}
	by := make(map[string]*subject)
	for _, s := range all {
		by[s.name] = s
	}
	for ours, xens := range map[string]string{"ours, no rate": "Xen's", "ours, no rate, with times": "Xen's, with times"} {
		o, x := by[ours], by[xens]
		suffix := strings.TrimPrefix(xens, "Xen's")
		add("a flooding guest"+suffix, "KB/s", o.rate/1e3, x.rate/1e3, false)
		add("CPU for a MiB"+suffix, "µs", float64(o.cpu.Microseconds()), float64(x.cpu.Microseconds()), true)
	}
	add("a terminal answers who attaches", "µs", float64(by["ours"].attach.Microseconds()), float64(by["Xen's"].attach.Microseconds()), true)
	slices.SortFunc(rows, func(a, b ratios.Row) int { return strings.Compare(a.What, b.What) })
	return ratios.Keep("console", rows)
}

func least(to *time.Duration, v time.Duration) {
	if *to == 0 || v < *to {
		*to = v
	}
}

const attachments = 15

func (s *subject) measure(p *peers.Peers, program, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	h, err := peers.NewHost(dir)
	if err != nil {
		return err
	}
	xs, err := p.StartC(h)
	if err != nil {
		return err
	}
	defer xs.Kill()
	store, err := xenstore.DialPath(ctx, h.Socket())
	if err != nil {
		return err
	}
	defer store.Close()
	run := filepath.Join(dir, "consoles")
	c := p.Consoled(h, s.args...)
	if s.ours {
		c = exec.Command(program, append([]string{"-i", "--log-dir", h.ConsoleLogs(), "--run-dir", run}, s.args...)...)
		c.Env = append(os.Environ(), "FAKEXEN="+h.Dir, "XENSTORED_PATH="+h.Socket())
	}
	if err := c.Start(); err != nil {
		return err
	}
	defer func() {
		_ = c.Process.Signal(syscall.SIGKILL)
		_ = c.Wait()
	}()
	if err := s.flood(ctx, h, store, c.Process.Pid); err != nil {
		return err
	}
	return s.attachments(ctx, h, store, run)
}

// guest makes a guest, and waits for its terminal.
func guest(ctx context.Context, h *peers.Host, store *xenstore.Client, d xen.DomID) (*peers.Console, string, error) {
	if err := h.MakeGuest(ctx, store, d, fmt.Sprintf("guest%d", d)); err != nil {
		return nil, "", err
	}
	g, err := h.Console(d)
	if err != nil {
		return nil, "", err
	}
	for ctx.Err() == nil {
		tty, err := store.Read(ctx, fmt.Sprintf("/local/domain/%d/console/tty", d))
		if err == nil && tty != "" {
			return g, tty, nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, "", errors.New("the daemon makes no terminal")
}

func (s *subject) flood(ctx context.Context, h *peers.Host, store *xenstore.Client, pid int) error {
	g, _, err := guest(ctx, h, store, 5)
	if err != nil {
		return err
	}
	defer g.Close()
	block := []byte(strings.Repeat("[   12.345678] a line of a kernel's log, as long as they are\r\n", 1<<15))[:1<<20]
	if _, err := g.Write(ctx, block[:64<<10]); err != nil { // so that all is warm
		return err
	}
	before, err := cpu(pid)
	if err != nil {
		return err
	}
	begun := time.Now()
	for left := s.bytes; left > 0; left -= len(block) {
		if _, err := g.Write(ctx, block[:min(left, len(block))]); err != nil {
			return err
		}
	}
	if err := g.Drained(ctx); err != nil {
		return err
	}
	took := time.Since(begun)
	time.Sleep(20 * time.Millisecond) // the rest of the log
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	s.rate = max(s.rate, float64(s.bytes)/took.Seconds())
	least(&s.cpu, (after-before)*(1<<20)/time.Duration(s.bytes))
	return nil
}

// cpu is how long all threads of a process have run (the first field of schedstat, in ns).
func cpu(pid int) (total time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no threads of process %d (%w)", pid, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n)
	}
	return total, nil
}

// attachments measures how long it takes until who attaches to a guest that waits for a login sees that.
func (s *subject) attachments(ctx context.Context, h *peers.Host, store *xenstore.Client, run string) error {
	var terminals, connections []time.Duration
	for i := range attachments {
		d := xen.DomID(10 + i)
		g, tty, err := guest(ctx, h, store, d)
		if err != nil {
			return err
		}
		defer g.Close()
		if _, err := g.Write(ctx, []byte("login: ")); err != nil {
			return err
		}
		if err := g.Drained(ctx); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
		buf := make([]byte, 100)
		begun := time.Now()
		f, err := os.OpenFile(tty, os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		n, err := f.Read(buf)
		terminals = append(terminals, time.Since(begun))
		f.Close()
		if err != nil || n == 0 {
			return fmt.Errorf("%d bytes at the terminal: %w", n, err)
		}
		if !s.ours {
			continue
		}
		begun = time.Now()
		conn, err := net.Dial("unix", filepath.Join(run, "socket"))
		if err != nil {
			return err
		}
		client := attach.NewClient(conn)
		if _, err := client.Open(attach.Request{Op: attach.OpAttach, Guest: strconv.Itoa(int(d)), Lines: 50}); err != nil {
			return err
		}
		if _, err := client.Read(buf); err != nil {
			return err
		}
		connections = append(connections, time.Since(begun))
		client.Close()
	}
	slices.Sort(terminals)
	least(&s.attach, terminals[len(terminals)/2])
	if s.ours {
		slices.Sort(connections)
		least(&s.connect, connections[len(connections)/2])
	}
	return nil
}
