// Command stubdom makes unikernels of Go programs: PVH images that Xen boots.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"morgana/tests/bench"
	"morgana/unikernel"
	"morgana/unikernel/image"
)

// Exit codes, as --help says them.
const (
	exitUsage   = 2
	exitProgram = 3 // the program cannot become a unikernel
	exitRun     = 4 // it could not be built, started or written

	exitCrash       = 7 // run: the guest crashed
	exitInterrupted = 130
)

func main() {
	// The program of bench's guests is this one.
	if len(os.Args) > 1 && os.Args[1] == bench.FiguresWord {
		figures(unikernel.Uptime(), os.Args[2:])
		return
	}
	app := &cli.App{
		Name:                 "stubdom",
		Usage:                "make a Xen unikernel of a static Go program, look into one, run one",
		EnableBashCompletion: true,
		HideVersion:          true,
		Commands:             []*cli.Command{buildCommand, inspectCommand, configCommand, runCommand, benchCommand, hostCommand, metricsCommand, agentCommand},
		Description: `Examples:
   stubdom build ./cmd/hello -o hello.elf
   stubdom build --binary prog --file zoneinfo.zip:/usr/lib/go/lib/time/zoneinfo.zip -o prog.elf
   stubdom config hello.elf --memory 16 > hello.cfg && xl create -c hello.cfg
   stubdom run hello.elf -- -n 3
   stubdom bench --runs 5 hello.elf
   stubdom host --sim --http 127.0.0.1:8080
   stubdom metrics --listen 127.0.0.1:9101

Exit codes: 0 done, 2 wrong usage, 3 the program cannot become a unikernel, 4 building, writing or running failed;
with run, the guest's own end: 0 powered off or asked for a reboot, 7 crashed or non-zero exit status, 130 ended
by Ctrl-C.
run and bench use this machine's Xen where it is a Xen host's dom0, else they boot a Xen host in QEMU.
Shell completion: source <(stubdom completion bash).`,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	app.Commands = append(app.Commands, completionCommand)
	for _, c := range app.Commands {
		c.OnUsageError = wrongUsage
	}
	app.OnUsageError = wrongUsage
	app.Action = func(c *cli.Context) error {
		if c.NArg() > 0 {
			return cli.Exit(fmt.Sprintf("there is no command %q; stubdom --help lists them", c.Args().First()), exitUsage)
		}
		return cli.ShowAppHelp(c)
	}
	args := os.Args
	if len(args) > 1 && args[len(args)-1] != "--generate-bash-completion" {
		args = permute(app, args)
	}
	if err := app.Run(args); err != nil {
		fmt.Fprintln(os.Stderr, "stubdom:", err)
		os.Exit(exitCode(err))
	}
}

func exitCode(err error) int {
	var coder cli.ExitCoder
	switch {
	case errors.Is(err, image.ErrProgram), errors.Is(err, image.ErrArchive):
		return exitProgram
	case errors.Is(err, errFailed): // which may wrap an *exec.ExitError, an ExitCoder too
		return exitRun
	case errors.As(err, &coder):
		return coder.ExitCode()
	}
	return exitUsage
}

// errFailed marks what went wrong outside of the command line and of the program.
var errFailed = errors.New("failed")

func failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errFailed, err)
}

// wrongUsage replaces the help text, which would go to standard output, by a line.
func wrongUsage(c *cli.Context, err error, _ bool) error {
	name := ""
	if c.Command != nil && c.Command.Name != c.App.Name {
		name = c.Command.Name + " "
	}
	return cli.Exit(fmt.Sprintf("%v; stubdom %s--help lists the flags", err, name), exitUsage)
}

// permute moves a command's flags before its operands, because the flag parser stops at the first operand and would
// ignore what follows. After "--" everything is an operand.
func permute(app *cli.App, args []string) []string {
	cmd := app.Command(args[1])
	if cmd == nil {
		return args
	}
	takesValue := map[string]bool{}
	for _, f := range cmd.Flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, n := range f.Names() {
			takesValue[n] = !isBool
		}
	}
	out := args[:2:2]
	var operands []string
	for i := 2; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			operands = append(operands, args[i:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			operands = append(operands, a)
			continue
		}
		out = append(out, a)
		name := a[1:]
		if name[0] == '-' {
			name = name[1:]
		}
		if takesValue[name] && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	if len(operands) > 0 && operands[0] != "--" {
		out = append(out, "--")
		for i, o := range operands {
			if o == "--" {
				operands = append(operands[:i], operands[i+1:]...)
				break
			}
		}
	}
	return append(out, operands...)
}

var completionCommand = &cli.Command{
	Name:      "completion",
	Usage:     "print the completion script for a shell",
	ArgsUsage: "bash|zsh",
	Action: func(c *cli.Context) error {
		switch c.Args().First() {
		case "bash":
			fmt.Println(`_stubdom() { COMPREPLY=($(compgen -W "$("${COMP_WORDS[@]:0:COMP_CWORD}" --generate-bash-completion)" -- "${COMP_WORDS[COMP_CWORD]}") $(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); }
complete -o filenames -F _stubdom stubdom`)
		case "zsh":
			fmt.Println(`#compdef stubdom
_stubdom() { local -a o; o=("${(@f)$("${words[@]:0:#words[@]-1}" --generate-bash-completion)}"); _describe values o; _files }
compdef _stubdom stubdom`)
		default:
			return cli.Exit("completion wants bash or zsh", exitUsage)
		}
		return nil
	},
}
