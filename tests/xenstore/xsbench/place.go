package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"morgana/tests/xenstore/peers"
)

// settle gives the generator's thread a processor, and all that it starts a priority over other programs.
func settle() error {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)            // root may
	_ = os.WriteFile("/proc/self/autogroup", []byte("-20"), 0) // the same among sessions, where they are scheduled so
	return bind(0, 0)
}

// alone gives a daemon the other processor, if there is one.
func alone(d *peers.Daemon, err error) (*peers.Daemon, error) {
	if err != nil || runtime.NumCPU() < 2 {
		return d, err
	}
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(d.Cmd.Process.Pid) + "/task/*")
	if err != nil {
		return nil, err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(filepath.Base(t))
		if err == nil {
			err = bind(tid, 1)
		}
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
	}
	return d, nil
}

func bind(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(tid, &set))
}
