package ordered

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAgainstGoMap makes random changes to a map and to Go's, and looks at old versions afterwards.
func TestAgainstGoMap(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		type version struct {
			m    Map[int, int]
			want map[int]int
		}
		m, want := New[int, int](cmp.Compare[int]), map[int]int{}
		var old []version
		span := []int{3, 40, 200, 5000}[seed%4]
		for i := range 4000 {
			k := r.IntN(span)
			if r.IntN(5) < 3 == (i/700%2 == 0) {
				m, want[k] = m.Set(k, i), i
			} else {
				m = m.Delete(k)
				delete(want, k)
			}
			if i%500 == 0 {
				old = append(old, version{m, maps.Clone(want)})
			}
		}
		for _, v := range append(old, version{m, want}) {
			check(t, v.m, v.want, span, r)
		}
		keys := slices.Sorted(maps.Keys(want))
		var vals []int
		for _, k := range keys {
			vals = append(vals, want[k])
		}
		check(t, FromSorted(cmp.Compare[int], keys, vals), want, span, r)
	}
}

func check(t *testing.T, m Map[int, int], want map[int]int, span int, r *rand.Rand) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(want))
	var got []int
	for k, v := range m.All() {
		if want[k] != v {
			t.Fatalf("key %d has %d, want %d", k, v, want[k])
		}
		got = append(got, k)
	}
	if !slices.Equal(got, keys) || m.Len() != len(keys) {
		t.Fatalf("keys %v (%d), want %v", got, m.Len(), keys)
	}
	for range 50 {
		k := r.IntN(span+2) - 1
		if v, ok := m.Get(k); ok != hasKey(want, k) || v != want[k] {
			t.Fatalf("Get(%d) = %d, %v", k, v, ok)
		}
		i, found := slices.BinarySearch(keys, k)
		got = nil
		for k := range m.From(k) {
			got = append(got, k)
		}
		if !slices.Equal(got, keys[i:]) {
			t.Fatalf("From(%d) = %v, want %v", k, got, keys[i:])
		}
		f := i - 1
		if found {
			f = i
		}
		if key, _, ok := m.Floor(k); ok != (f >= 0) || ok && key != keys[f] {
			t.Fatalf("Floor(%d) = %d, %v; keys %v", k, key, ok, keys)
		}
		if key, _, ok := m.Ceil(k); ok != (i < len(keys)) || ok && key != keys[i] {
			t.Fatalf("Ceil(%d) = %d, %v; keys %v", k, key, ok, keys)
		}
	}
	if key, _, ok := m.Max(); ok != (len(keys) > 0) || ok && key != keys[len(keys)-1] {
		t.Fatalf("Max() = %d, %v", key, ok)
	}
	if key, _, ok := m.Min(); ok != (len(keys) > 0) || ok && key != keys[0] {
		t.Fatalf("Min() = %d, %v", key, ok)
	}
}

func hasKey(m map[int]int, k int) bool {
	_, ok := m[k]
	return ok
}

func BenchmarkSetDelete(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(itoa(n), func(b *testing.B) {
			m := New[int, int](cmp.Compare[int])
			for i := range n {
				m = m.Set(i*2, i)
			}
			b.ReportAllocs()
			for b.Loop() {
				_ = m.Set(n|1, 1).Delete(n | 1)
			}
		})
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}
