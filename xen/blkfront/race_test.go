//go:build race

package blkfront

// raced says that sync.Pool forgets at random.
const raced = true
