package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"morgana/xenstore"
)

// shells are what command shells have to read.
var shells = map[string]string{
	"bash": `_xs() {
	local IFS=$'\n'
	COMPREPLY=($(xs completion words -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null))
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
	return 0
}
complete -F _xs xs
`,
	"zsh": `#compdef xs
_xs() {
	local -a found
	found=("${(@f)$(xs completion words -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
	found=(${found:#})
	(( $#found )) && compadd -U -S '' -- $found
}
compdef _xs xs
`,
	"fish": `function __xs_words
	xs completion words -- (commandline -opc) (commandline -ct) 2>/dev/null
end
complete -c xs -f -a '(__xs_words)'
`,
}

func completion(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) > 1 && args[0] == "words" {
		line := args[1:]
		if line[0] == "--" {
			line = line[1:]
		}
		for _, w := range words(c, line) {
			fmt.Println(w)
		}
		return nil
	}
	if len(args) != 1 || shells[args[0]] == "" {
		return want(c, false)
	}
	fmt.Print(shells[args[0]])
	return nil
}

// words are the ways in which the last word of a command line may go on.
func words(c *cli.Context, line []string) []string {
	if len(line) < 2 {
		return nil
	}
	last := line[len(line)-1]
	var verb *cli.Command
	var found []string
	for i := 1; i < len(line)-1 && verb == nil; i++ {
		switch {
		case line[i] == "--socket":
			i++
		case !strings.HasPrefix(line[i], "-"):
			if verb = c.App.Command(line[i]); verb == nil {
				return nil
			}
		}
	}
	flags := func(all []cli.Flag) {
		for _, f := range all {
			found = append(found, "--"+f.Names()[0])
		}
	}
	switch {
	case verb == nil && strings.HasPrefix(last, "-"):
		flags(c.App.Flags)
	case verb == nil:
		for _, v := range c.App.Commands {
			found = append(found, v.Name)
		}
	case strings.HasPrefix(last, "-"):
		flags(verb.Flags)
	case verb.Name == "completion":
		found = []string{"bash", "fish", "zsh"}
	case verb.Name == "control":
		found = []string{"check", "help", "log", "logfile", "live-update", "memreport", "print", "quota", "quota-soft", "stats"}
	case strings.Contains(verb.ArgsUsage, "PATH"):
		return paths(c, last)
	}
	found = slices.DeleteFunc(found, func(w string) bool { return !strings.HasPrefix(w, last) })
	slices.Sort(found)
	return slices.Compact(found)
}

// paths are the nodes that the beginning of an absolute path may mean; with a slash at the end if there is more below.
func paths(c *cli.Context, begun string) []string {
	if begun == "" {
		return []string{"/"}
	}
	if begun[0] != '/' {
		return nil
	}
	client, err := dial(c)
	if err != nil {
		return nil
	}
	defer client.Close()
	cut := strings.LastIndexByte(begun, '/')
	dir := max(begun[:cut], "/")
	names, err := client.List(c.Context, dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, n := range names {
		p := xenstore.Join(dir, n)
		if !strings.HasPrefix(p, begun) {
			continue
		}
		if below, err := client.List(c.Context, p); err == nil && len(below) > 0 {
			p += "/"
		}
		found = append(found, p)
	}
	slices.Sort(found)
	return found
}
