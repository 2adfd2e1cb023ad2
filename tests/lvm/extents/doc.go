// Package extents compares the requests of morgana/lvm/metadata with the real lvm2: random commands run there, the same
// requests here on the metadata as it was before, and what comes out must be the same, extent by extent and word by
// word.
package extents
