package redo

import (
	"bytes"
	"errors"
	"testing"

	"morgana/block"
)

func FuzzHeader(f *testing.F) {
	f.Add(AppendHeader(nil, Header{Group: group, Epoch: epochA, Generation: 3, Size: 1 << 20, Sector: 512, Replicas: 1}))
	f.Add(AppendHeader(nil, Header{
		Group: group, Epoch: epochB, Continues: Position{epochA, 9}, Chain: 7, Size: 1 << 20, Sector: 4096, Replicas: 2,
		Features: Features{1, 2, 0},
	}))
	f.Add([]byte(headerMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		got, err := ParseHeader(AppendHeader(nil, h))
		if err != nil || got != h {
			t.Errorf("%+v became %+v, %v", h, got, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	b, _ := AppendRecord(nil, Record{Position: Position{epochA, 1}, Seqno: 2, Payload: []byte("payload")}, 3, 512)
	f.Add(b, uint64(1), uint32(3))
	b, _ = AppendRecord(nil, Record{Position: Position{epochA, 2}, Payload: make([]byte, 600)}, 0, 512)
	f.Add(b, uint64(2), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, number uint64, prev uint32) {
		r, n, err := ParseRecord(b, epochA, number, prev, 512)
		if err != nil {
			return
		}
		got, sum := AppendRecord(nil, r, prev, 512)
		used := recordHeader + len(r.Payload)
		if sum != r.sum || int64(len(got)) != n || !bytes.Equal(got[:52], b[:52]) || !bytes.Equal(got[64:used], b[64:used]) {
			t.Errorf("%x became %x", b, got)
		}
	})
}

// Whatever a region holds, opening it ends, and what it yields continues the text.
func FuzzOpen(f *testing.F) {
	d := block.NewMem(minSize, 512)
	l, err := Format(group, epochA, 0, d)
	if err != nil {
		f.Fatal(err)
	}
	for range 3 {
		_, _ = l.Append([]byte("payload"))
	}
	_ = l.Switch(epochB)
	_, _ = l.Append([]byte("more"))
	image := make([]byte, minSize)
	_, _ = d.ReadAt(image, 0)
	f.Add(image, uint64(1))
	f.Add(image[:recordsAt], uint64(0))
	f.Fuzz(func(t *testing.T, image []byte, count uint64) {
		d := block.NewMem(minSize, 512)
		_, _ = d.WriteAt(image[:min(len(image), minSize)], 0)
		l, err := Open(d)
		if err != nil {
			return
		}
		for _, h := range l.Headers() {
			at := Position{h.Epoch, count}
			rs, err := l.Lineage(at, h.Base+count, true)
			if err != nil {
				if !errors.Is(err, ErrBrokenLineage) {
					t.Errorf("lineage: %v", err)
				}
				continue
			}
			next := h.Base + count
			for _, r := range rs {
				if next++; r.Seqno != next {
					t.Errorf("seqno %d, want %d", r.Seqno, next)
				}
			}
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add(Position{epochA, 1 << 60}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePosition(s); err == nil {
			if q, err := ParsePosition(p.String()); err != nil || p != q {
				t.Errorf("%q: %v, %v", s, p, q)
			}
		}
	})
}
