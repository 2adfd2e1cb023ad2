package text

// stack collects the members of nested lists. Those of a finished list move to a slice of just their number, cut from
// a slab, so that a text of a megabyte takes some hundred allocations and not a hundred thousand.
type stack[T any] struct {
	open []T
	slab []T
}

const slabSize = 512

func (s *stack[T]) len() int { return len(s.open) }
func (s *stack[T]) push(x T) { s.open = append(s.open, x) }

// cut takes what lies above base off the stack.
func (s *stack[T]) cut(base int) []T {
	top := s.open[base:]
	n := len(top)
	if n == 0 {
		return nil
	}
	if n > len(s.slab) {
		s.slab = make([]T, max(n, slabSize))
	}
	out := s.slab[:n:n]
	s.slab = s.slab[n:]
	copy(out, top)
	clear(top)
	s.open = s.open[:base]
	return out
}
