package verbs

import (
	"slices"

	"morgana/cmd/mlvm/internal/command"
)

// All returns every verb that is about volumes and groups, and further ones, in the order of help.
func All(further ...command.Verb) []command.Verb {
	all := slices.Concat(
		further,
		general(),
		completions(),
		redoLogVerbs(),
		volumeData(),
		reports(),
		displays(),
		scans(),
		physical(),
		physicalChanges(),
		moves(),
		checks(),
		groups(),
		groupChanges(),
		splits(),
		backups(),
		volumes(),
		resizes(),
		volumeChanges(),
	)
	all = withRedoLog(all)
	slices.SortFunc(all, func(a, b command.Verb) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}
