package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"morgana/cmd/mlvm/internal/args"
)

// Verb is one of the program's commands.
type Verb struct {
	Name     string
	Summary  string   // one line, without an end stop
	Usage    []string // each way to call it, without its name
	Details  string   // paragraphs for --help
	Examples []string // whole command lines, without "mlvm"
	Supports string   // the options of lvm2 that it obeys, by their long names
	Own      []args.Option
	Min      int // fewest operands
	Max      int // most operands; -1 is any number
	Run      func(context.Context, *Run) error
}

// Everywhere are the options of lvm2 that all verbs obey. Those that tune lvm2's work with udev, hints and the kernel
// driver have nothing to tune here.
const Everywhere = "debug devices devicesfile driverloaded help longhelp nohints nolocking quiet test verbose version yes"

// elsewhere are options that may be given with some verbs of lvm2 and are without effect there, as here, because no
// kernel is involved.
const elsewhere = "ignorelockingfailure ignoreskippedcluster noudevsync trustcache"

// Usage reports a wrong use of a verb that its parser could not see; the exit code is 3.
func (v *Verb) usage(lines ...string) *args.UsageError {
	for i := range lines {
		lines[i] = "  " + lines[i]
	}
	return &args.UsageError{Lines: lines}
}

// Check says what is wrong with a parsed command line: options that mlvm has not, too few or too many operands.
func (v *Verb) Check(p *args.Parsed) error {
	for _, name := range p.Names() {
		if !v.Obeys(name) {
			return &args.UsageError{Lines: []string{
				fmt.Sprintf("  Option --%s of %s is not supported by mlvm.", name, v.Name),
			}}
		}
	}
	if p.Has("help") || p.Has("longhelp") || p.Has("version") {
		return nil
	}
	n := len(p.Operands)
	if n == 0 && v.Min > 0 && p.Has("select") && strings.Contains(strings.Join(v.Usage, " "), "Select") {
		return nil
	}
	switch {
	case n < v.Min:
		return v.NoMatch()
	case v.Max >= 0 && n > v.Max:
		return v.usage("Command does not accept argument: " + p.Operands[v.Max] + ".")
	}
	return nil
}

// NoMatch is the error of a command line that fits none of the verb's uses.
func (v *Verb) NoMatch() *args.UsageError {
	e := v.usage("No command with matching syntax recognised.  Run '" + v.Name + " --help' for more information.")
	if len(v.Usage) == 1 && !strings.HasPrefix(v.Usage[0], "OPTION") {
		e.Lines = append(e.Lines, "  Correct command syntax is:")
		e.Out = []string{"  " + v.Name + " " + v.Usage[0], ""}
	}
	return e
}

// WrongUse is the error of options that do not go together.
func (v *Verb) WrongUse(format string, a ...any) *args.UsageError {
	e := v.usage(fmt.Sprintf(format, a...))
	e.Lines = append(e.Lines, v.short())
	return e
}

func (v *Verb) short() string { return "  Run `" + v.Name + " --help' for more information." }

// Obeys reports whether the verb supports an option.
func (v *Verb) Obeys(name string) bool {
	if slices.Contains(strings.Fields(v.Supports), name) || slices.Contains(strings.Fields(Everywhere), name) ||
		slices.Contains(strings.Fields(elsewhere), name) {
		return true
	}
	return slices.ContainsFunc(v.Own, func(o args.Option) bool { return o.Name == name })
}

// Options are the options that the verb obeys.
func (v *Verb) Options() []args.Option {
	var list []args.Option
	for _, o := range args.Of(v.Name) {
		own := slices.ContainsFunc(v.Own, func(w args.Option) bool { return w.Name == o.Name })
		if v.Obeys(o.Name) && !own && !slices.Contains(strings.Fields(elsewhere), o.Name) {
			list = append(list, o)
		}
	}
	return append(list, v.Own...)
}
