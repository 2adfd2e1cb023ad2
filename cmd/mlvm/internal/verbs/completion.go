package verbs

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm/report"
)

// completions are the verbs for command shells.
func completions() []command.Verb {
	return []command.Verb{{
		Name: "completion", Summary: "help a command shell to complete words", Usage: []string{"bash|zsh|fish", "words -- WORD ..."}, Min: 1, Max: -1,
		Details: `Prints what the shell has to read. Then it completes commands, options, what options take, names of fields, and
the names of groups and volumes on the disks that MLVM_DEVICES or --devices names. "words" is for the shells: it
prints how the last word of a command line may go on.`,
		Examples: []string{"completion bash > /etc/bash_completion.d/mlvm", "completion fish > ~/.config/fish/completions/mlvm.fish"},
		Run:      completion,
	}}
}

// shells are the scripts for them. Where mlvm knows nothing they complete names of files.
var shells = map[string]string{
	"bash": `_mlvm() {
	local IFS=$'\n'
	COMPREPLY=($(mlvm completion words -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null))
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[,=] ]] && compopt -o nospace
	return 0
}
complete -o bashdefault -o default -F _mlvm mlvm
`,
	"zsh": `#compdef mlvm
_mlvm() {
	local -a found
	found=("${(@f)$(mlvm completion words -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
	found=(${found:#})
	(( $#found )) && compadd -U -- $found || _files
}
compdef _mlvm mlvm
`,
	"fish": `function __mlvm_words
	mlvm completion words -- (commandline -opc) (commandline -ct) 2>/dev/null
end
complete -c mlvm -a '(__mlvm_words)'
`,
}

func completion(ctx context.Context, r *command.Run) error {
	if r.Operands[0] == "words" {
		for _, w := range words(ctx, r, r.Operands[1:]) {
			fmt.Fprintln(r.Stdout, w)
		}
		return nil
	}
	script := shells[r.Operands[0]]
	if script == "" || len(r.Operands) > 1 {
		return r.Verb.NoMatch()
	}
	fmt.Fprint(r.Stdout, script)
	return nil
}

// words are the ways in which the last word of a command line may go on.
func words(ctx context.Context, r *command.Run, line []string) []string {
	if len(line) == 0 {
		return nil
	}
	last, before := line[len(line)-1], line[:len(line)-1]
	verb, asked := typed(r.Verbs, before)
	var found []string
	switch o, rest := openOption(verb, before, last); {
	case o != nil:
		prefix := strings.TrimSuffix(last, rest)
		for _, w := range values(*o, rest) {
			found = append(found, prefix+w)
		}
	case verb == nil && strings.HasPrefix(last, "-"):
		found = []string{"--devices", "--devicesfile", "--domain", "--help", "--version"}
	case verb == nil:
		for _, v := range r.Verbs {
			found = append(found, v.Name)
		}
	case strings.HasPrefix(last, "-"):
		for _, o := range verb.Options() {
			found = append(found, "--"+o.Name)
		}
	case verb.Name == "help":
		for _, v := range r.Verbs {
			found = append(found, v.Name)
		}
	case verb.Name == "completion":
		found = []string{"bash", "fish", "zsh"}
	default:
		found = names(ctx, r, verb, asked)
	}
	found = slices.DeleteFunc(found, func(w string) bool { return !strings.HasPrefix(w, last) })
	slices.Sort(found)
	return slices.Compact(found)
}

// typed finds the verb of an unfinished command line, nil if it has none yet, and the options about disks.
func typed(all []command.Verb, line []string) (verb *command.Verb, disks []string) {
	if len(line) == 0 {
		return nil, nil
	}
	known := func(name string) *command.Verb {
		if i := slices.IndexFunc(all, func(v command.Verb) bool { return v.Name == name }); i >= 0 {
			return &all[i]
		}
		return nil
	}
	verb = known(filepath.Base(line[0])) // a link
	for i := 1; i < len(line); i++ {
		name, _, joined := strings.Cut(line[i], "=")
		switch {
		case name == "--devices" || name == "--devicesfile":
			disks = append(disks, line[i])
			if i++; !joined && i < len(line) {
				disks = append(disks, line[i])
			} else if joined {
				i--
			}
		case verb == nil && !strings.HasPrefix(line[i], "-"):
			verb = known(line[i])
		}
	}
	return verb, disks
}

// openOption is the option whose value is being typed, and what there is of it: in a word of its own or after "=".
func openOption(verb *command.Verb, before []string, last string) (*args.Option, string) {
	var list []args.Option
	if verb != nil {
		list = verb.Options()
	}
	find := func(word string) *args.Option {
		i := slices.IndexFunc(list, func(o args.Option) bool {
			return o.Kind != args.Flag && (word == "--"+o.Name || o.Short != 0 && word == "-"+string(o.Short))
		})
		if i < 0 {
			return nil
		}
		return &list[i]
	}
	if name, rest, ok := strings.Cut(last, "="); ok && strings.HasPrefix(name, "--") {
		return find(name), rest
	}
	if len(before) == 0 {
		return nil, ""
	}
	if before[len(before)-1] == "=" && len(before) > 1 { // bash makes a word of it
		return find(before[len(before)-2]), last
	}
	if last == "=" {
		return nil, ""
	}
	return find(before[len(before)-1]), last
}

// values are what an option takes, as far as that can be listed.
func values(o args.Option, sofar string) []string {
	switch {
	case o.Name == "options" || o.Name == "sort":
		// The last of a list, perhaps with a sign.
		i := strings.LastIndexByte(sofar, ',') + 1
		if i < len(sofar) && strings.IndexByte("+-#", sofar[i]) >= 0 {
			i++
		}
		var list []string
		for _, n := range report.Names() {
			list = append(list, sofar[:i]+n)
		}
		return list
	case o.Name == "select":
		i := strings.LastIndexAny(sofar, " ,&|(") + 1
		var list []string
		for _, n := range report.Names() {
			list = append(list, sofar[:i]+n+"=")
		}
		return list
	case o.Name == "units":
		return strings.Fields("h H r R b s k K m M g G t T p P e E")
	case o.Kind == args.Type:
		return strings.Fields("linear striped error zero")
	case strings.Contains(o.Takes(), "|") && !strings.Contains(o.Takes(), "["):
		return slices.DeleteFunc(strings.Split(o.Takes(), "|"), func(w string) bool { return w == "Number" })
	}
	return nil
}

// names are those of groups and volumes on the disks, and of the disks, as a verb wants them.
func names(ctx context.Context, r *command.Run, verb *command.Verb, disks []string) []string {
	usage := strings.Join(verb.Usage, " ")
	var found []string
	list := func(wanted string, verb string, fields string) {
		if !strings.Contains(usage, wanted) {
			return
		}
		var out, complaints bytes.Buffer
		s := command.System{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &complaints, Getenv: r.Getenv}
		s.Args = append(slices.Clone(disks), "--nolocking", "--noheadings", "--options", fields)
		if command.Main(ctx, s, r.Verbs, verb) == command.ExitOK {
			found = append(found, strings.Fields(out.String())...)
		}
	}
	list("VG", "vgs", "vg_name")
	list("LV", "lvs", "lv_full_name")
	list("PV", "pvs", "pv_name")
	return found
}
