// Soak loads a domain with everything at once for a long time, and checks that nothing is lost, hangs or grows. One
// half of it runs as a domain, the other in dom0, where it drives events and grants at the domain:
//
//	soak --role=guest --for=30m                 the domain's command line; with --restarts=100 it restarts in place
//	soak --role=dom0 --domain=N --for=30m       in dom0
//
// With --storm the domain dies again and again, as soon as it starts, until the kernel gives it up.
// Exit status: 0 all was well, 1 something was not, 2 wrong usage. As a Linux process the guest's half runs without
// the Xen parts.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"morgana/unikernel"
)

func main() {
	role := flag.String("role", "guest", "guest or dom0")
	domain := flag.Int("domain", -1, "the guest's number, for dom0")
	length := flag.Duration("for", time.Minute, "how long")
	restarts := flag.Int("restarts", 0, "how often the guest restarts in place; then --for is for dom0 alone")
	goroutines := flag.Int("goroutines", 1000, "goroutines of the guest")
	storm := flag.Bool("storm", false, "die at every start")
	flag.Parse()
	if flag.NArg() > 0 || *role != "guest" && *role != "dom0" || *role == "dom0" && *domain < 0 {
		fmt.Fprintln(os.Stderr, "usage: soak --role=guest [--for=D] [--restarts=N] | --role=dom0 --domain=N [--for=D]")
		os.Exit(2)
	}
	if *storm {
		_ = unikernel.RestartOnFatal(true)
		panic(fmt.Sprintf("generation %d of a storm", unikernel.Generation()))
	}
	var err error
	if *role == "dom0" {
		err = drive(context.Background(), *domain, *length)
	} else {
		err = endure(context.Background(), *length, *restarts, *goroutines)
	}
	if err != nil {
		fmt.Println("soak: FAIL:", err)
		os.Exit(1)
	}
	fmt.Println("soak: all is well")
}
