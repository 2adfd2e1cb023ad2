// Xenstore is the domain that serves xenstore to dom0 and all guests in place of dom0's daemon. Xen's own tool starts it:
//
//	init-xenstore-domain --kernel xenstore.elf --memory 64
//
// or, at every boot, the script beside this file: see docs/xenstore-domain.md. Limits are set as with xenstored's
// options, in init-xenstore-domain's --param.
//
// What it knows is in a journal in pages outside of the heap. When the program dies the kernel starts it again in the
// same domain, within a second, and it goes on where it was: nodes, watches, requests half read, replies and events not
// sent. Transactions that were open end with EAGAIN.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"morgana/unikernel"
	"morgana/xenstore/daemon"
	"morgana/xenstore/daemon/command"
	"morgana/xenstore/journal"
)

func main() {
	if err := serve(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "xenstore:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	cfg, port, err := command.Stub(args)
	if err != nil {
		return err
	}
	if !unikernel.OnXen() {
		return fmt.Errorf("this is a domain's program; the daemon for dom0 is xenstored")
	}
	if err := unikernel.RestartOnFatal(true); err != nil {
		return err
	}
	// A third of the memory is the journal's; it must be the same in every generation.
	mem, err := unikernel.Arena("journal", int(unikernel.Info().Memory/3))
	if err != nil {
		return err
	}
	unikernel.SetLimits()
	debug.SetGCPercent(200) // the limit above bounds it
	if cfg.Storage, err = journal.NewArena(mem); err != nil {
		return err
	}
	machine, err := openMachine(port)
	if err != nil {
		return err
	}
	defer machine.Close()
	cfg.Machine, cfg.Wait = machine, machine.Wait
	cfg.Stats = stats
	cfg.Words = func(line string) { fmt.Fprintln(os.Stderr, "xenstore:", line) }
	d, err := daemon.New(cfg)
	if err != nil {
		return err
	}
	defer d.Close()
	started := unikernel.Uptime() - unikernel.Info().Boot
	cfg.Words(fmt.Sprintf("generation %d serves, %v after its start", unikernel.Generation(), started.Round(time.Millisecond)))
	return d.Run(context.Background())
}
