//go:build !race

package blkfront

const raced = false
