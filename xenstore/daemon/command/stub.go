package command

import (
	"fmt"
	"time"

	"morgana/xen"
	"morgana/xenstore/daemon"
	"morgana/xenstore/server"
	"morgana/xenstore/store"
)

// Stub reads the command line of a domain that serves xenstore: what init-xenstore-domain says, --event PORT, and the
// daemon's options about limits. Port is the one that dom0's kernel made.
func Stub(args []string) (cfg daemon.Config, port xen.Port, err error) {
	o := options{config: daemon.Config{
		Limits: store.DefaultLimits(), EventTimeout: server.EventTimeout * time.Millisecond, Args: args[:1],
	}}
	if err := parse(args[1:], &o); err != nil {
		return cfg, 0, err
	}
	switch {
	case o.event == 0:
		return cfg, 0, fmt.Errorf("no --event: start this domain with init-xenstore-domain")
	case o.master != 0:
		return cfg, 0, fmt.Errorf("--master-domid %d: only dom0 can be the domain of the tool stack", o.master)
	}
	return o.config, xen.Port(o.event), nil
}
