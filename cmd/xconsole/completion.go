package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// scripts have the names of guests completed by the daemon.
var scripts = map[string]string{
	"bash": `_xconsole() {
	local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W "list attach logs completion help" -- "$cur"))
	elif [[ $cur == -* ]]; then
		case $verb in
		list) COMPREPLY=($(compgen -W "--json --names" -- "$cur")) ;;
		attach) COMPREPLY=($(compgen -W "--read-only --sole --lines --escape --retry" -- "$cur")) ;;
		logs) COMPREPLY=($(compgen -W "--follow --lines --json --retry" -- "$cur")) ;;
		esac
	else
		case $verb in
		attach | logs) COMPREPLY=($(compgen -W "$(xconsole list --names 2>/dev/null)" -- "$cur")) ;;
		completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur")) ;;
		esac
	fi
}
complete -F _xconsole xconsole
`,
	"zsh": `#compdef xconsole
_xconsole() {
	if (( CURRENT == 2 )); then
		compadd list attach logs completion help
	else
		case $words[2] in
		attach) compadd -- --read-only --sole --lines --escape --retry ${(f)"$(xconsole list --names 2>/dev/null)"} ;;
		logs) compadd -- --follow --lines --json --retry ${(f)"$(xconsole list --names 2>/dev/null)"} ;;
		list) compadd -- --json --names ;;
		completion) compadd bash zsh fish ;;
		esac
	fi
}
compdef _xconsole xconsole
`,
	"fish": `complete -c xconsole -f
complete -c xconsole -n __fish_use_subcommand -a 'list attach logs completion help'
complete -c xconsole -n '__fish_seen_subcommand_from attach logs' -a '(xconsole list --names 2>/dev/null)'
complete -c xconsole -n '__fish_seen_subcommand_from attach' -l read-only -l sole -l lines -l escape -l retry
complete -c xconsole -n '__fish_seen_subcommand_from logs' -l follow -l lines -l json -l retry
complete -c xconsole -n '__fish_seen_subcommand_from list' -l json -l names
complete -c xconsole -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
`,
}

func completion(c *cli.Context) error {
	if err := want(c, 1); err != nil {
		return err
	}
	s, ok := scripts[c.Args().First()]
	if !ok {
		return fmt.Errorf("%w: no completion for %q; there are bash, zsh and fish", errUsage, c.Args().First())
	}
	_, err := fmt.Print(s)
	return err
}
