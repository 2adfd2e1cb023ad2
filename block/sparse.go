package block

// Sparse is a Device that knows of ranges that read as zeros because nothing was ever written there.
type Sparse interface {
	// Hole looks at the n bytes from off: how many of them, at least one, are alike, and whether they are a hole. The
	// count may be shorter than the truth, and data may be zeros.
	Hole(off, n int64) (length int64, hole bool, err error)
}
