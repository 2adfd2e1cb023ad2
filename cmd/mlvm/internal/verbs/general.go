package verbs

import (
	"context"
	"fmt"

	"morgana/cmd/mlvm/internal/command"
)

// general are the verbs about the program itself.
func general() []command.Verb {
	return []command.Verb{
		{
			Name: "help", Summary: "explain mlvm or one of its commands", Usage: []string{"[COMMAND|devices]"}, Max: 1,
			Examples: []string{"help", "help lvcreate", "help devices"},
			Run:      help,
		},
		{
			Name: "version", Summary: "show the version", Usage: []string{""},
			Run: func(_ context.Context, r *command.Run) error {
				command.WriteVersion(r.Stdout)
				return nil
			},
		},
	}
}

func help(_ context.Context, r *command.Run) error {
	all := r.Verbs
	if len(r.Operands) == 0 {
		fmt.Fprint(r.Stdout, introduction)
		for _, v := range all {
			fmt.Fprintf(r.Stdout, "  %-14s %s\n", v.Name, v.Summary)
		}
		return nil
	}
	name := r.Operands[0]
	if name == "devices" {
		fmt.Fprint(r.Stdout, devicesHelp)
		return nil
	}
	for _, v := range all {
		if v.Name == name {
			v.WriteHelp(r.Stdout)
			return nil
		}
	}
	return r.Failed("%s: no such command. Run 'mlvm help' for a list.", name)
}

const introduction = `  mlvm [--devices A,B,…] COMMAND …   logical volumes of LVM2 without a kernel, on files and block devices

  The commands, options, reports and exit codes are those of lvm2; what lvm2 has and mlvm has not is refused by name.
  Called by the name of a command (a symbolic link lvs -> mlvm), the program is that command.

      truncate -s 128M a.img b.img
      export MLVM_DEVICES=a.img,b.img
      mlvm vgcreate vg0 a.img b.img
      mlvm lvcreate -L 64M -n root vg0
      mlvm lvs

  mlvm --domain storage COMMAND …    has a storage domain carry the command out, on the volumes that it serves

  'mlvm help COMMAND' explains one, with its options and examples. For completion: source <(mlvm completion bash).

`

const devicesHelp = `  mlvm looks at no disk that was not named to it. Disks are plain files or block devices, and are named by
      --devices A,B,…       before or after the command; may be repeated
      MLVM_DEVICES=A,B,…    in the environment
      --devicesfile FILE    a file with one disk in a line, or lvm2's own format (IDNAME=/dev/sda …)
  the first of these that is there; else the file $XDG_CONFIG_HOME/mlvm/devices (~/.config/mlvm/devices), if it exists;
  else the disks that the command itself names: mlvm vgcreate vg0 a.img b.img.

  In a plain file with a GUID partition table the partitions of type LVM are the disks: disk.img:2 is the second one.
`
