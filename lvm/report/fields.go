package report

import "sync"

// fields are all of them, in the order in which lvm2 lists and prints them.
var fields = sync.OnceValue(func() []*field {
	var all []*field
	for _, part := range [][]*field{volumeFields(), kernelFields(), diskFields(), groupFields(), segmentFields(), runFields()} {
		all = append(all, part...)
	}
	return all
})

// constant is a field whose value is the same everywhere where there is no kernel to ask.
func constant(id, heading string, sc scope, k valueKind, width int, v value, about string) *field {
	return &field{
		id: id, heading: heading, scope: sc, kind: k, width: width, about: about,
		get: func(*Settings, *Row) value { return v },
	}
}

// word is what stands for 1 in a yes-or-no field.
func word(words ...string) []reserved { return []reserved{{words: words, num: 1}} }
