package blkif

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/xen"
	"morgana/xen/ring"
)

// layout is what a C compiler makes of Xen's header, by width and name (mklayout).
func layout(tb testing.TB) map[ABI]map[string][]byte {
	tb.Helper()
	text, err := os.ReadFile("testdata/layout.txt")
	if err != nil {
		tb.Fatal(err)
	}
	all := map[ABI]map[string][]byte{ABI32: {}, ABI64: {}}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[0] == "#" {
			continue
		}
		b, err := hex.DecodeString(f[2])
		if err != nil {
			tb.Fatal(err)
		}
		all[map[string]ABI{"32": ABI32, "64": ABI64}[f[0]]][f[1]] = b
	}
	return all
}

const (
	goldenID     = 0x2122232425262728
	goldenSector = 0x3132333435363738
)

// goldenRequests are what mklayout's program says in C.
func goldenRequests() map[string]Request {
	write := Request{Op: Write, Handle: 0x1213, ID: goldenID, Sector: goldenSector, Segments: 11}
	for i := range 10 {
		s := Segment{Ref: xen.GrantRef(i + 1), First: 0, Last: uint8(i + 1)}
		if i > 6 {
			s.First, s.Last = 1, uint8(i-5)
		}
		write.Direct[i] = s
	}
	write.Direct[10] = Segment{Ref: 0xfffffffe, First: 5, Last: 5}
	return map[string]Request{
		"read": {
			Op: Read, Handle: 0x1213, ID: goldenID, Sector: goldenSector, Segments: 2,
			Direct: [MaxSegments]Segment{{Ref: 0x41424344, First: 1, Last: 7}, {Ref: 0x51525354, First: 0, Last: 6}},
		},
		"write":   write,
		"flush":   {Op: Flush, ID: goldenID, Sector: 1<<64 - 1},
		"discard": {Op: Discard, Secure: true, Handle: 0x1213, ID: goldenID, Sector: goldenSector, Count: 0x6162636465666768},
		"indirect": {
			Op: Indirect, Inner: Write, Handle: 0x1213, ID: goldenID, Sector: goldenSector, Segments: 0xfff,
			Pages: [MaxIndirectPages]xen.GrantRef{0x11, 0x2222, 0x333333, 0x44444444, 5, 6, 7, 0x88888888},
		},
	}
}

// Every byte is where the compiler of a frontend's kernel puts it.
func TestLayoutIsTheCompilers(t *testing.T) {
	for abi, golden := range layout(t) {
		t.Run(abi.String(), func(t *testing.T) {
			for name, want := range goldenRequests() {
				slot := bytes.Repeat([]byte{0xaa}, abi.SlotSize()+1)
				abi.PutRequest(slot, &want)
				// The structures of a discard and an indirect request are shorter than a slot.
				b := append(bytes.Clone(golden[name]), make([]byte, abi.SlotSize()-len(golden[name]))...)
				if got := slot[:abi.SlotSize()]; !bytes.Equal(got, b) {
					t.Errorf("%s is put as\n%x, want\n%x", name, got, b)
				}
				if slot[abi.SlotSize()] != 0xaa {
					t.Errorf("%s is put beyond its slot", name)
				}
				got := Request{Segments: 99, Direct: [MaxSegments]Segment{10: {Ref: 99}}, Count: 99, Inner: 99}
				if abi.DecodeRequest(&got, b); got != want {
					t.Error(name, "is read as", cmp.Diff(want, got))
				}
			}

			want := Response{ID: goldenID, Op: Discard, Status: NotSupported}
			b := bytes.Repeat([]byte{0xaa}, abi.ResponseSize())
			abi.PutResponse(b, want)
			if !bytes.Equal(b, golden["response"]) {
				t.Errorf("a response is put as %x, want %x", b, golden["response"])
			}
			if got := abi.DecodeResponse(golden["response"]); got != want {
				t.Errorf("a response is read as %+v, want %+v", got, want)
			}

			segs := []Segment{{}, {Ref: 0x41424344, First: 1, Last: 7}}
			page := make([]byte, len(segs)*SegmentSize)
			PutSegments(page, segs)
			if !bytes.Equal(page[SegmentSize:], golden["segment"]) {
				t.Errorf("a segment is put as %x, want %x", page[SegmentSize:], golden["segment"])
			}
			back := make([]Segment, len(segs))
			if DecodeSegments(back, page); !cmp.Equal(back, segs) {
				t.Error(cmp.Diff(segs, back))
			}

			for name, got := range map[string]int{
				"slot_size": abi.SlotSize(), "response_size": abi.ResponseSize(), "ring_header": ring.HeaderSize,
				"ring_slots_0": abi.Slots(0), "ring_slots_4": abi.Slots(4),
			} {
				if want := binary.LittleEndian.Uint64(golden[name]); uint64(got) != want {
					t.Errorf("%s is %d, want %d", name, got, want)
				}
			}
		})
	}
}

func TestProtocol(t *testing.T) {
	for s, want := range map[string]ABI{"": ABI32, "x86_32-abi": ABI32, "x86_64-abi": ABI64, "arm-abi": ABI64} {
		if got, err := ParseProtocol(s); got != want || err != nil {
			t.Errorf("protocol %q is %v, %v; want %v", s, got, err, want)
		}
	}
	for _, a := range []ABI{ABI32, ABI64} {
		if got, err := ParseProtocol(a.String()); got != a || err != nil {
			t.Errorf("%v is read back as %v, %v", a, got, err)
		}
	}
	if _, err := ParseProtocol("ia64-abi"); err == nil {
		t.Error("a protocol that nobody speaks was taken")
	}
}

// A slot may hold anything: it is read without a panic, and what passes Validate stays within the disk and the pages.
func FuzzRequest(f *testing.F) {
	for abi, golden := range layout(f) {
		for name := range goldenRequests() {
			f.Add(golden[name], abi == ABI32, uint64(1<<62), false, uint16(256))
			f.Add(golden[name], abi == ABI32, uint64(8), true, uint16(0))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, narrow bool, size uint64, ro bool, indirect uint16) {
		abi := ABI64
		if narrow {
			abi = ABI32
		}
		slot := make([]byte, abi.SlotSize())
		copy(slot, b)
		var r, again Request
		abi.DecodeRequest(&r, slot)
		l := Limits{Sectors: size, SectorSize: 512, ReadOnly: ro, MaxIndirect: int(indirect), Flush: true, Discard: true}
		if r.Validate(&l) != nil {
			return
		}
		abi.PutRequest(slot, &r)
		if abi.DecodeRequest(&again, slot); again != r {
			t.Fatal(cmp.Diff(r, again))
		}
		end := r.Sector
		for _, s := range r.Direct[:min(r.Segments, MaxSegments)] {
			if s.Offset() < 0 || s.Len() <= 0 || s.Offset()+s.Len() > xen.PageSize {
				t.Fatalf("%+v was let through", s)
			}
			end += uint64(s.Sectors())
		}
		end += r.Count
		alone := r.Op == Flush && r.Segments == 0
		if !alone && (end < r.Sector || end > size) {
			t.Fatalf("%v of sectors %d to %d of %d was let through", r.Op, r.Sector, end, size)
		}
		if ro && !alone && r.Moves() != Read {
			t.Fatalf("%v was let through to a read-only disk", r.Moves())
		}
		if pages := r.IndirectPages(); pages > MaxIndirectPages || r.Op == Indirect && pages < 1 {
			t.Fatalf("%d pages of segments were let through", pages)
		}
	})
}

func FuzzResponse(f *testing.F) {
	for abi, golden := range layout(f) {
		f.Add(golden["response"], abi == ABI32)
	}
	f.Fuzz(func(t *testing.T, b []byte, narrow bool) {
		abi := ABI64
		if narrow {
			abi = ABI32
		}
		slot := make([]byte, ResponseMax)
		copy(slot, b)
		r := abi.DecodeResponse(slot)
		abi.PutResponse(slot, r)
		if again := abi.DecodeResponse(slot); again != r {
			t.Fatal(r, again)
		}
	})
}

func TestNothingAllocates(t *testing.T) {
	r, l := goldenRequests()["write"], Limits{Sectors: 1 << 62, SectorSize: 512}
	slot, page := make([]byte, Native.SlotSize()), make([]byte, xen.PageSize)
	segs := make([]Segment, SegmentsPerPage)
	if n := testing.AllocsPerRun(100, func() {
		Native.PutRequest(slot, &r)
		Native.DecodeRequest(&r, slot)
		if err := r.Validate(&l); err != nil {
			t.Fatal(err)
		}
		DecodeSegments(segs, page)
		PutSegments(page, segs)
		Native.PutResponse(slot[:16], Native.DecodeResponse(slot[:16]))
		bad := Request{Op: Write, Segments: 12}
		if bad.Validate(&l) == nil {
			t.Fatal("12 segments were let through")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecodeAndValidate(b *testing.B) {
	l := Limits{Sectors: 1 << 62, SectorSize: 512}
	for _, n := range []int{1, 11} {
		b.Run(map[int]string{1: "4KiB", 11: "44KiB"}[n], func(b *testing.B) {
			r := goldenRequests()["write"]
			r.Segments = n
			slot := make([]byte, Native.SlotSize())
			Native.PutRequest(slot, &r)
			for b.Loop() {
				Native.DecodeRequest(&r, slot)
				if err := r.Validate(&l); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
