// Command mlvm manages LVM2 volume groups on files and block devices without the kernel's device-mapper.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/transfer"
	"morgana/cmd/mlvm/internal/verbs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args)
	stop()
	os.Exit(code)
}

// lasting are the verbs that may run for long.
var lasting = map[string]bool{"nbd": true, "shell": true, "cp": true, "image": true, "pvmove": true}

// run finds the verb: the program's own name if it is called through a link, else the first argument.
func run(ctx context.Context, argv []string) int {
	s := command.System{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	verb, rest := filepath.Base(argv[0]), argv[1:]
	domain := os.Getenv("MLVM_DOMAIN")
	if verb == "mlvm" || verb == "lvm" || strings.HasSuffix(verb, ".test") {
		rest, domain = domainOf(rest, domain)
		verb, rest = split(rest)
	}
	s.Args = rest
	if domain != "" && verb != "help" && verb != "version" {
		return elsewhere(ctx, s, domain, verb, rest)
	}
	if !lasting[verb] {
		// A command is over before collecting garbage would pay.
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(512 << 20)
	}
	return command.Main(ctx, s, verbs.All(transfer.Verbs()...), verb)
}

// domainOf takes --domain NAME, which stands before the verb, out of the arguments.
func domainOf(argv []string, domain string) (rest []string, name string) {
	for i, a := range argv {
		v, joined := strings.CutPrefix(a, "--domain=")
		switch {
		case joined:
			return slices.Delete(slices.Clone(argv), i, i+1), v
		case a == "--domain" && i+1 < len(argv):
			return slices.Delete(slices.Clone(argv), i, i+2), argv[i+1]
		case !strings.HasPrefix(a, "-"):
			return argv, domain
		}
	}
	return argv, domain
}

// split takes the verb out of the arguments: options about devices may stand before it. Without one it is the shell, as
// for lvm2.
func split(argv []string) (verb string, rest []string) {
	for i := 0; i < len(argv); i++ {
		a := argv[i]
		switch {
		case a == "--help" || a == "-h":
			return "help", nil
		case a == "--version":
			return "version", nil
		case a == "--devices" || a == "--devicesfile":
			i++ // its value
		case strings.HasPrefix(a, "-"):
		default:
			return a, append(argv[:i:i], argv[i+1:]...)
		}
	}
	return "shell", argv
}
