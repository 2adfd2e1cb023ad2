package blkif

import (
	"errors"
	"testing"
)

// direct is a request with segments of these lengths in sectors.
func direct(op Op, sector uint64, lengths ...int) Request {
	r := Request{Op: op, Sector: sector, Segments: len(lengths)}
	for i, n := range lengths {
		if i < MaxSegments {
			r.Direct[i] = Segment{Ref: 100, Last: uint8(n - 1)}
		}
	}
	return r
}

func TestValidate(t *testing.T) {
	disk := Limits{Sectors: 100, SectorSize: 512, MaxIndirect: 256, Flush: true, Barrier: true, Discard: true}
	large := disk
	large.SectorSize, large.Sectors = 4096, 800
	ro := disk
	ro.ReadOnly = true
	bare := Limits{Sectors: 100, SectorSize: 512}

	for name, c := range map[string]struct {
		l    Limits
		r    Request
		want error
	}{
		"one sector":            {disk, direct(Read, 0, 1), nil},
		"a page":                {disk, direct(Write, 0, 8), nil},
		"all segments":          {disk, direct(Write, 0, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8), nil},
		"the last sector":       {disk, direct(Write, 99, 1), nil},
		"no segment":            {disk, direct(Read, 0), ErrSegments},
		"too many segments":     {disk, direct(Read, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), ErrSegments},
		"all that a byte says":  {disk, Request{Op: Read, Segments: 255}, ErrSegments},
		"across the end":        {disk, direct(Read, 99, 2), ErrRange},
		"by the second segment": {disk, direct(Read, 92, 8, 1), ErrRange},
		"beyond the end":        {disk, direct(Read, 100, 1), ErrRange},
		"a sum that overflows":  {disk, direct(Read, 1<<64-1, 2), ErrRange},
		"a signed sector":       {disk, direct(Read, 1<<63, 1), ErrRange},
		"backwards":             {disk, Request{Op: Read, Segments: 1, Direct: [11]Segment{{First: 3, Last: 2}}}, ErrSegment},
		"out of the page":       {disk, Request{Op: Read, Segments: 1, Direct: [11]Segment{{First: 0, Last: 8}}}, ErrSegment},
		"far out of the page":   {disk, Request{Op: Read, Segments: 1, Direct: [11]Segment{{First: 255, Last: 255}}}, ErrSegment},
		"only the second":       {disk, Request{Op: Read, Segments: 2, Direct: [11]Segment{{}, {First: 8, Last: 8}}}, ErrSegment},
		"a write, read-only":    {ro, direct(Write, 0, 1), ErrReadOnly},
		"a read, read-only":     {ro, direct(Read, 0, 1), nil},

		"flush":                      {disk, Request{Op: Flush}, nil},
		"flush of Linux":             {disk, Request{Op: Flush, Sector: 1<<64 - 1}, nil},
		"flush, read-only":           {ro, Request{Op: Flush}, nil},
		"flush and write":            {disk, direct(Flush, 0, 1), nil},
		"flush and write, read-only": {ro, direct(Flush, 0, 1), ErrReadOnly},
		"flush and write beyond":     {disk, direct(Flush, 100, 1), ErrRange},
		"flush not offered":          {bare, Request{Op: Flush}, ErrOp},
		"barrier":                    {disk, direct(Barrier, 0, 1), nil},
		"barrier alone":              {disk, Request{Op: Barrier, Sector: 1<<64 - 1}, nil},
		"barrier, read-only":         {ro, direct(Barrier, 0, 1), ErrReadOnly},
		"barrier not offered":        {bare, direct(Barrier, 0, 1), ErrOp},

		"discard":                {disk, Request{Op: Discard, Sector: 1, Count: 99}, nil},
		"discard of nothing":     {disk, Request{Op: Discard, Sector: 100}, nil},
		"discard across the end": {disk, Request{Op: Discard, Sector: 1, Count: 100}, ErrRange},
		"discard that overflows": {disk, Request{Op: Discard, Sector: 2, Count: 1<<64 - 1}, ErrRange},
		"discard, read-only":     {ro, Request{Op: Discard, Sector: 1, Count: 1}, ErrReadOnly},
		"discard not offered":    {bare, Request{Op: Discard, Sector: 1, Count: 1}, ErrOp},
		"discard of half":        {large, Request{Op: Discard, Sector: 8, Count: 4}, ErrAlign},

		"indirect":                {disk, Request{Op: Indirect, Inner: Write, Segments: 256}, nil},
		"indirect at the end":     {disk, Request{Op: Indirect, Inner: Read, Sector: 100, Segments: 1}, nil},
		"indirect beyond the end": {disk, Request{Op: Indirect, Inner: Read, Sector: 101, Segments: 1}, ErrRange},
		"indirect of nothing":     {disk, Request{Op: Indirect, Inner: Read}, ErrSegments},
		"indirect of too many":    {disk, Request{Op: Indirect, Inner: Read, Segments: 257}, ErrSegments},
		"indirect flush":          {disk, Request{Op: Indirect, Inner: Flush, Segments: 1}, ErrInner},
		"indirect indirect":       {disk, Request{Op: Indirect, Inner: Indirect, Segments: 1}, ErrInner},
		"indirect, read-only":     {ro, Request{Op: Indirect, Inner: Write, Segments: 1}, ErrReadOnly},
		"indirect not offered":    {bare, Request{Op: Indirect, Inner: Read, Segments: 1}, ErrOp},

		"a large sector":              {large, direct(Read, 8, 8), nil},
		"a large sector in two parts": {large, direct(Read, 8, 7, 1), nil},
		"half a large sector":         {large, direct(Read, 8, 4), ErrAlign},
		"between large sectors":       {large, direct(Read, 4, 8), ErrAlign},

		"reserved": {disk, direct(Reserved, 0, 1), ErrOp},
		"unknown":  {disk, direct(7, 0, 1), ErrOp},
		"255":      {disk, direct(255, 0, 1), ErrOp},
	} {
		if err := c.r.Validate(&c.l); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// An indirect request's segments are checked like others, all of them.
func TestCheckSegments(t *testing.T) {
	l := Limits{Sectors: 4096, SectorSize: 512, MaxIndirect: 256}
	r := Request{Op: Indirect, Inner: Read, Segments: 256, Sector: 2048}
	segs := make([]Segment, 256)
	for i := range segs {
		segs[i] = Segment{Ref: 9, Last: 7}
	}
	if n, err := r.CheckSegments(&l, segs); n != 2048 || err != nil {
		t.Errorf("%d sectors, %v; want 2048", n, err)
	}
	r.Sector++
	if _, err := r.CheckSegments(&l, segs); !errors.Is(err, ErrRange) {
		t.Error("one sector beyond the end:", err)
	}
	r.Sector--
	segs[255].Last = 8
	if _, err := r.CheckSegments(&l, segs); !errors.Is(err, ErrSegment) {
		t.Error("the last segment out of its page:", err)
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Status
	}{{nil, OK}, {ErrOp, NotSupported}, {ErrRange, Failed}, {errors.New("disk on fire"), Failed}} {
		if got := StatusOf(c.err); got != c.want {
			t.Errorf("status of %v is %v, want %v", c.err, got, c.want)
		}
	}
}
