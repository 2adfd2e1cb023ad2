package main

import (
	"errors"

	"morgana/xen/devxen"
	"morgana/xenconsoled/daemon"
)

// machine is Xen as a console daemon in dom0 sees it, over Linux's devices.
type machine struct {
	*devxen.Domain
	*control
}

// openMachine opens the devices.
func openMachine() (daemon.Machine, error) {
	d, err := devxen.Open()
	if err != nil {
		return nil, err
	}
	c, err := openControl()
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &machine{d, c}, nil
}
