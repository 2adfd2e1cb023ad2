// Consoles is a domain that serves the consoles of guests in place of dom0. Its xl configuration:
//
//	name="consoles"  type="pvh"  kernel="consoles.elf"  memory=64  vcpus=1
//	disk=['/dev/vg0/consoles,raw,xvda,rw']
//
// Its agent in dom0 tells it of guests and connects people to it:
//
//	xenconsoled --domain consoles
//
// Logs are on the disk: the newest that there is room for. An empty disk is made a store of logs; one that holds something
// else is refused, unless cmdline="--format" says that it may go. Without a disk there is what the memory holds: each
// guest's last bytes (--scrollback). Guests do not wait for a disk that is slow to come, or does not.
//
// What guests wrote is in pages outside of the heap. When the program dies the kernel starts it again in the same domain,
// within a second, and it goes on with the next byte.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"morgana/unikernel"
	"morgana/unikernel/crashtest"
	"morgana/xen"
	"morgana/xen/devxen"
	"morgana/xenconsoled"
	"morgana/xenconsoled/domain"
	"morgana/xenstore"
)

func main() {
	var o options
	flag.IntVar(&o.scrollback, "scrollback", 256, "KiB kept of each guest in memory, a power of two")
	flag.IntVar(&o.rate, "rate", 16, "MiB that a guest may write in a second, on average; 0: no bound")
	flag.BoolVar(&o.format, "format", false, "make a store of logs of a disk that holds something else")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: consoles [--scrollback=KIB] [--rate=MIB] [--format]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, o); err != nil && ctx.Err() == nil {
		say(err.Error())
		os.Exit(1)
	}
}

type options struct {
	scrollback, rate int
	format           bool
}

func say(line string) { fmt.Fprintln(os.Stderr, "consoles:", line) }

func serve(ctx context.Context, o options) error {
	if !unikernel.OnXen() {
		return fmt.Errorf("this is a domain's program; the daemon for dom0 is xenconsoled")
	}
	if err := unikernel.RestartOnFatal(true); err != nil {
		return err
	}
	// Half of the memory is the guests'; it must be the same in every generation.
	mem, err := unikernel.Arena("consoles", int(unikernel.Info().Memory/2))
	if err != nil {
		return err
	}
	unikernel.SetLimits()
	pool, err := xenconsoled.NewPool(mem, o.scrollback<<10)
	if err != nil {
		return err
	}
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	dom, err := devxen.Open()
	if err != nil {
		return err
	}
	defer dom.Close()
	logs, err := openLogs(ctx, store, dom, o.format)
	if err != nil {
		return err
	}
	defer logs.close()
	var d *domain.Domain
	cfg := domain.Config{
		Machine: dom, Dial: xenstore.Dial, Memory: logs.memory(pool), Logs: logs.where, Rate: o.rate << 20, Warn: say,
		Left: func(keep func(xen.DomID) bool, finish func([]byte)) {
			pool.Leave(keep, finish)
			logs.retain(d.Service().Consoles)
		},
	}
	if !logs.none {
		cfg.Log, cfg.History = logs.log, history{logs}
	}
	d, err = domain.New(cfg)
	if err != nil {
		return err
	}
	crashtest.Watch(ctx, store)
	started := unikernel.Uptime() - unikernel.Info().Boot
	say(fmt.Sprintf("generation %d serves, %v after its start: up to %d guests, logs in %s",
		unikernel.Generation(), started.Round(time.Millisecond), pool.Places(), logs.where))
	return d.Run(ctx)
}
