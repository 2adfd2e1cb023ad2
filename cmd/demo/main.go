// Command demo is what `make run` runs: on this machine's Xen, or on a Xen host that it boots in QEMU, two Go programs
// run as domains of their own and do to each other what Xen's neighbours do: share memory by grants, wake each other by
// events, meet in xenstore. Then a stock Linux guest boots from a logical volume that the storage domain serves. It
// prints tables of what passed and how fast.
//
//	demo [--images build/stubdoms]
//
// The table is on standard output, how it goes on standard error. Exit status: 0 all passed, 1 not, 2 wrong usage.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"morgana/tests/testbed"
	"morgana/xen/xentest"
)

func main() {
	images := flag.String("images", "build/stubdoms", "directory with the images that make stubdoms makes")
	timeout := flag.Duration("timeout", 15*time.Minute, "give up after this")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	s, err := run(ctx, *images)
	if s != nil {
		s.write(os.Stdout, terminal(os.Stdout))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// path is where the two domains meet in xenstore.
const path = "/morgana/demo"

// run boots a host if there is none, and shows everything on it. Without a summary nothing can be shown.
func run(ctx context.Context, images string) (_ *summary, err error) {
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "demo: "+format+"\n", args...) }
	start := time.Now()
	if testbed.OwnHost() {
		say("using this machine's Xen")
	} else {
		say("booting a Xen host in QEMU")
	}
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	disk, err := storageDisk(dir)
	if err != nil {
		return nil, err
	}
	o := testbed.Options{Progress: os.Stderr, GuestRoot: true}
	if !testbed.OwnHost() {
		o.Disks = []string{disk}
	}
	h, err := testbed.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	s := &summary{boot: h.BootTime}
	if !h.Own {
		say("its dom0 is up after %.1f s", h.BootTime.Seconds())
		disk = "/dev/vdb"
	} else {
		out, err := h.Output(ctx, "losetup", "-f", "--show", disk)
		if err != nil {
			return nil, err
		}
		disk = strings.TrimSpace(out)
		defer func() {
			_, lerr := h.Output(context.WithoutCancel(ctx), "losetup", "-d", disk)
			err = errors.Join(err, lerr)
		}()
	}
	if err := s.conformance(ctx, h, filepath.Join(images, "conformance.elf"), say); err != nil {
		if s.report == nil {
			return nil, err
		}
		return s, err
	}
	s.storage, err = showStorage(ctx, h, filepath.Join(images, "storage.elf"), disk, say)
	s.total = time.Since(start)
	return s, err
}

// conformance starts the two domains of the suite and waits for what they found.
func (s *summary) conformance(ctx context.Context, h *testbed.Host, image string, say func(string, ...any)) (err error) {
	start := time.Now()
	meet := fmt.Sprintf("xenstore-rm %[1]s 2>/dev/null; xenstore-write %[1]s '' && xenstore-chmod %[1]s b0", path)
	if _, err := h.Script(ctx, meet); err != nil {
		return fmt.Errorf("make %s in xenstore: %w", path, err)
	}
	defer func() {
		_, rerr := h.Output(context.WithoutCancel(ctx), "xenstore-rm", path)
		err = errors.Join(err, rerr)
	}()
	lines := newLines()
	for _, d := range []*testbed.DomainConfig{
		{Name: "responder", Cmdline: "--role=responder"},
		{Name: "initiator", Cmdline: "--role=initiator --json --rounds=200", Output: lines},
	} {
		d.Kernel, d.MemoryMiB, d.Cmdline = image, 96, d.Cmdline+" --timeout=3m --path="+path // a busy machine is slow
		domain, err := h.StartDomain(ctx, *d)
		if err != nil {
			return err
		}
		s.domains = append(s.domains, domain)
		say("domain %d is the %s, %d MiB, created in %.1f s", domain.ID, d.Name, d.MemoryMiB, domain.Created.Seconds())
	}
	began := time.Now()
	ended := make(chan error, 1)
	go func() {
		err := s.end(ctx)
		lines.close()
		ended <- err
	}()
	rep := follow(lines, len(xentest.Cases()), func() { s.list, _ = h.Output(ctx, "xl", "list") })
	err = <-ended
	s.report, s.ran, s.total = rep, time.Since(began), time.Since(start)
	switch {
	case rep == nil && err == nil:
		return fmt.Errorf("the initiator ended without a report; its console:\n%s", s.domains[1].Console)
	case rep == nil:
		return err
	case rep.Err() != nil:
		return rep.Err()
	}
	return err
}

// end waits for the two domains' ends.
func (s *summary) end(ctx context.Context) error {
	for _, d := range []*testbed.Domain{s.domains[1], s.domains[0]} {
		reason, err := d.Wait(ctx)
		if err != nil {
			return err
		}
		if s.reasons = append(s.reasons, reason); reason != "poweroff" {
			return fmt.Errorf("%s ended with %s; its console:\n%s", d.Name, reason, d.Console)
		}
	}
	return nil
}

// follow tells how it goes, case by case, and returns the report that comes last; nil if none does. begun is called at
// the first case's end.
func follow(lines *lines, total int, begun func()) *xentest.Report {
	over := "\n"
	if terminal(os.Stderr) {
		over = "\r\x1b[K" // one line for all
	}
	n := 0
	for in := bufio.NewReader(lines); ; {
		line, err := in.ReadString('\n')
		if strings.HasPrefix(line, "{") {
			var rep xentest.Report
			if json.Unmarshal([]byte(line), &rep) == nil {
				if over != "\n" {
					fmt.Fprint(os.Stderr, over)
				}
				return &rep
			}
		}
		if name, what, ok := result(line); ok {
			if n++; n == 1 {
				begun()
			}
			fmt.Fprintf(os.Stderr, "%sdemo: %2d of %d  %-32s %s", strings.TrimPrefix(over, "\n"), n, total, name, what)
			if over == "\n" {
				fmt.Fprintln(os.Stderr)
			}
		}
		if err != nil {
			return nil
		}
	}
}

// result takes a line of xentest.Result.String: the case, and what came of it.
func result(line string) (name, what string, ok bool) {
	name, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
	took, what, ok := strings.Cut(strings.TrimLeft(rest, " "), "ms  ")
	if !ok || !strings.Contains(name, "/") {
		return "", "", false
	}
	return name, what + " in " + took + " ms", true
}
