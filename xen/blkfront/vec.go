package blkfront

// cursor is a place in a list of buffers.
type cursor struct {
	bufs [][]byte
	i    int // buffer
	at   int // byte in it
}

// seek returns the place n bytes from the beginning.
func seek(bufs [][]byte, n int64) cursor {
	c := cursor{bufs: bufs}
	for c.i < len(bufs) && n >= int64(len(bufs[c.i])) {
		n -= int64(len(bufs[c.i]))
		c.i++
	}
	c.at = int(n)
	return c
}

// read fills b from the buffers.
func (c *cursor) read(b []byte) {
	for len(b) > 0 && c.i < len(c.bufs) {
		n := copy(b, c.bufs[c.i][c.at:])
		b = b[n:]
		c.move(n)
	}
}

// write copies b into the buffers.
func (c *cursor) write(b []byte) {
	for len(b) > 0 && c.i < len(c.bufs) {
		n := copy(c.bufs[c.i][c.at:], b)
		b = b[n:]
		c.move(n)
	}
}

func (c *cursor) move(n int) {
	if c.at += n; c.at == len(c.bufs[c.i]) {
		c.i, c.at = c.i+1, 0
	}
}

func total(bufs [][]byte) (n int64) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}
