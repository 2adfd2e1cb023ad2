package verbs

import (
	"slices"

	"morgana/cmd/mlvm/internal/command"
)

// All returns every verb, in the order of help.
func All() []command.Verb {
	all := slices.Concat(
		general(),
		redoLogVerbs(),
		volumeData(),
		images(),
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
