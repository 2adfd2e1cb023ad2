// Storelatency reads a node of xenstore again and again for a time, and prints what a read took: half of them, 99 of
// 100, and the worst, in microseconds, and how many there were. It is one thread that writes to the device and reads from
// it, so that it measures the service and not itself.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"morgana/xen/wire/xs"
)

func main() {
	length := 5 * time.Second
	if len(os.Args) > 1 {
		d, err := time.ParseDuration(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		length = d
	}
	if err := run(length); err != nil {
		fmt.Fprintln(os.Stderr, "storelatency:", err)
		os.Exit(1)
	}
}

func run(length time.Duration) error {
	const device = "/dev/xen/xenbus"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: device, Err: err}
	}
	defer unix.Close(fd)
	debug.SetGCPercent(-1)
	took := make([]time.Duration, 0, 1<<17)
	request := xs.AppendMessage(nil, xs.Header{Op: xs.Read, Req: 1}, []byte("/local/domain/0/name\x00"))
	var reply [xs.HeaderSize + xs.PayloadMax]byte
	for begun := time.Now(); time.Since(begun) < length && len(took) < cap(took); {
		t := time.Now()
		if _, err := unix.Write(fd, request); err != nil {
			return os.NewSyscallError("write", err)
		}
		for n, want := 0, xs.HeaderSize; n < want; {
			k, err := unix.Read(fd, reply[n:])
			if err != nil || k == 0 {
				return fmt.Errorf("read of a reply: %d bytes, %w", k, err)
			}
			if n += k; want == xs.HeaderSize && n >= want {
				h, err := xs.ParseHeader(reply[:n])
				switch {
				case err != nil:
					return err
				case h.Op != xs.Read:
					return fmt.Errorf("the reply is a %v: %q", h.Op, reply[xs.HeaderSize:n])
				}
				want += int(h.Len)
			}
		}
		took = append(took, time.Since(t))
	}
	slices.Sort(took)
	n := len(took)
	fmt.Println(took[n/2].Microseconds(), took[n*99/100].Microseconds(), took[n-1].Microseconds(), n)
	return nil
}
