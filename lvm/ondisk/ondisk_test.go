package ondisk_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/ondisk"
)

// disk is the sparse picture of a disk that LVM2 wrote: rows of 32 bytes by offset.
type disk map[uint64][]byte

func golden(t *testing.T, name string) disk {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	d := disk{}
	for line := range strings.Lines(string(b)) {
		var off uint64
		var row string
		if _, err := fmt.Sscanf(line, "%x %s", &off, &row); err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		if d[off], err = hex.DecodeString(row); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d disk) read(off, n uint64) []byte {
	b := make([]byte, n)
	for o, row := range d {
		if o >= off && o < off+n {
			copy(b[o-off:], row)
		}
	}
	return b
}

// What LVM2 wrote is understood, and written again it is the same bytes.
func TestGoldenDisks(t *testing.T) {
	const size = 128 << 20
	mda := []ondisk.Area{{Offset: 4096, Size: 1<<20 - 4096}}
	two := append(mda[:1:1], ondisk.Area{Offset: 0x7f00000, Size: 1 << 20})
	data := []ondisk.Area{{Offset: 1 << 20}}
	tests := []struct {
		name   string
		want   ondisk.Label
		slots0 []ondisk.Slot
	}{
		{"default", ondisk.Label{Sector: 1, Data: data, Metadata: mda}, make([]ondisk.Slot, 1)},
		{"two-areas", ondisk.Label{Sector: 1, Data: data, Metadata: two}, make([]ondisk.Slot, 2)},
		{"no-area", ondisk.Label{Sector: 1, Data: data}, nil},
		{
			"bootloader-sector3",
			ondisk.Label{
				Sector: 3, Data: []ondisk.Area{{Offset: 2 << 20}}, Metadata: mda,
				Bootloader: []ondisk.Area{{Offset: 1 << 20, Size: 1 << 20}},
			},
			make([]ondisk.Slot, 1),
		},
		{
			"in-group",
			ondisk.Label{Sector: 1, Data: data, Metadata: mda, ExtFlags: ondisk.Used},
			[]ondisk.Slot{{Offset: 512, Size: 0x437, CRC: 0x4b96a195}},
		},
		{
			"ignored-1",
			ondisk.Label{Sector: 1, Data: data, Metadata: two, ExtFlags: ondisk.Used},
			[]ondisk.Slot{
				{Offset: 2048, Size: 0x42b, CRC: 0x28463d46},
				{Offset: 2048, Size: 0x42b, CRC: 0x28463d46, Flags: ondisk.Ignored},
			},
		},
		{"removed-1", ondisk.Label{Sector: 1, Data: data, Metadata: two}, []ondisk.Slot{{}, {Flags: ondisk.Ignored}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := golden(t, tt.name)
			head := d.read(0, ondisk.LabelArea)
			l, err := ondisk.FindLabel(head)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.DeviceSize, tt.want.ExtVersion, tt.want.UUID = size, 2, l.UUID
			if diff := cmp.Diff(tt.want, l); diff != "" {
				t.Error(diff)
			}
			if l.Used() != (tt.want.ExtFlags != 0) {
				t.Error("used:", l.Used())
			}
			again, err := ondisk.AppendLabel(nil, l)
			if err != nil || !bytes.Equal(again, head[l.Sector*512:][:512]) {
				t.Errorf("written again the label differs: %v", err)
			}
			for i, a := range l.Metadata {
				b := d.read(a.Offset, ondisk.HeaderSize)
				h, err := ondisk.ParseHeader(a.Offset, b)
				if err != nil {
					t.Fatal(err)
				}
				if h.Size != a.Size || h.Slots[0] != tt.slots0[i] || h.Slots[1] != (ondisk.Slot{}) {
					t.Errorf("area %d: %+v", i, h)
				}
				if !bytes.Equal(ondisk.AppendHeader(nil, h), b) {
					t.Errorf("area %d: written again the header differs", i)
				}
				if h.Slots[0] == (ondisk.Slot{}) && !cmp.Equal(ondisk.AppendHeader(nil, ondisk.NewHeader(a, false)), b) {
					t.Errorf("area %d: an empty header differs", i)
				}
			}
		})
	}
}

func TestFindLabel(t *testing.T) {
	good := golden(t, "in-group").read(0, ondisk.LabelArea)
	damage := func(off int, b ...byte) []byte {
		d := bytes.Clone(good)
		copy(d[off:], b)
		return d
	}
	// second keeps the first label and puts another one behind it.
	second := bytes.Clone(good)
	l, _ := ondisk.FindLabel(good)
	other := l
	other.Sector, other.UUID[0] = 2, '#'
	b, err := ondisk.AppendLabel(nil, other)
	if err != nil {
		t.Fatal(err)
	}
	copy(second[1024:], b)
	if got, err := ondisk.FindLabel(second); err != nil || got.UUID != l.UUID {
		t.Errorf("of two labels the first counts: %v, %v", got, err)
	}
	second[600]++
	if got, err := ondisk.FindLabel(second); err != nil || got.UUID != other.UUID {
		t.Errorf("of two labels the undamaged counts: %v, %v", got, err)
	}
	tests := []struct {
		name    string
		in      []byte
		damaged bool
		msg     string
	}{
		{"nothing", nil, false, "no physical volume label"},
		{"zeroes", make([]byte, 2048), false, "no physical volume label"},
		{"checksum", damage(600, 1), true, "checksum"},
		{"sector", damage(520, 2), true, "meant for sector 2"},
		{"other type", damage(512+24, 'J', 'O', 'U', 'R'), false, "no physical volume label"},
		{"truncated", good[:1000], false, "no physical volume label"},
	}
	for _, tt := range tests {
		_, err := ondisk.FindLabel(tt.in)
		if !errors.Is(err, ondisk.ErrNoLabel) || errors.Is(err, ondisk.ErrLabel) != tt.damaged ||
			!strings.Contains(fmt.Sprint(err), tt.msg) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// seal sets the checksum of a label that a test wrote by hand.
func seal(b []byte) []byte {
	c := ondisk.CRC(ondisk.CRCInit, b[20:512])
	b[16], b[17], b[18], b[19] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
	return b
}

func TestDamagedLabels(t *testing.T) {
	good := golden(t, "in-group").read(512, 512)
	full := bytes.Clone(good)
	for i := 72; i < 512; i++ {
		full[i] = 1
	}
	far := bytes.Clone(good)
	far[20], far[21] = 0xd9, 1
	for name, b := range map[string][]byte{"endless lists": full, "description beyond the end": far} {
		if _, err := ondisk.ParseLabel(1, seal(b)); !errors.Is(err, ondisk.ErrLabel) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An old label without the extension, and one whose extension is newer.
	l, _ := ondisk.ParseLabel(1, good)
	for _, v := range []uint32{0, 1, 3} {
		l.ExtVersion, l.ExtFlags = v, 0
		if v == 3 {
			l.ExtFlags = 0x80000001
		}
		b, err := ondisk.AppendLabel(nil, l)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ondisk.ParseLabel(1, b)
		if err != nil || !cmp.Equal(got, l) {
			t.Errorf("extension %d: %v\n%s", v, err, cmp.Diff(l, got))
		}
		if w := got.WithUsed(true); !w.Used() || w.ExtFlags&^1 != l.ExtFlags&^1 || w.ExtVersion < 2 {
			t.Errorf("extension %d, used: %+v", v, w)
		}
	}
	for name, l := range map[string]ondisk.Label{
		"sector 4": {Sector: 4, Data: []ondisk.Area{{Offset: 1}}},
		"no data":  {},
		"offset 0": {Data: []ondisk.Area{{Offset: 0, Size: 1}}},
		"too many": {Data: make([]ondisk.Area, 40)},
	} {
		if _, err := ondisk.AppendLabel(nil, l); !errors.Is(err, ondisk.ErrLabel) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedHeaders(t *testing.T) {
	good := golden(t, "in-group").read(4096, 512)
	for name, tt := range map[string]struct {
		off  int
		want []error
	}{
		"checksum": {0, []error{ondisk.ErrHeaderChecksum}},
		"magic":    {4, []error{ondisk.ErrHeaderChecksum, ondisk.ErrHeaderMagic}},
		"version":  {20, []error{ondisk.ErrHeaderChecksum, ondisk.ErrHeaderVersion}},
		"start":    {24, []error{ondisk.ErrHeaderChecksum, ondisk.ErrHeaderStart}},
		"tail":     {511, []error{ondisk.ErrHeaderChecksum}},
	} {
		b := bytes.Clone(good)
		b[tt.off] ^= 0x80
		h, err := ondisk.ParseHeader(4096, b)
		var he *ondisk.HeaderError
		if !errors.As(err, &he) || !errors.Is(err, ondisk.ErrHeader) || len(he.Bad) != len(tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		for _, w := range tt.want {
			if !errors.Is(err, w) {
				t.Errorf("%s: %v does not tell %v", name, err, w)
			}
		}
		if h.Size != 0xff000 {
			t.Errorf("%s: size %d", name, h.Size)
		}
	}
	if _, err := ondisk.ParseHeader(8192, good); !errors.Is(err, ondisk.ErrHeaderStart) {
		t.Error(err)
	}
}

// A thousand texts in a row land where LVM2 puts them, on disks with sectors of 512 bytes: behind each other, at
// sectors, around the end where less than a sector is left.
func TestPlaceAsLVM2(t *testing.T) {
	h := ondisk.NewHeader(ondisk.Area{Offset: 4096, Size: 1<<20 - 4096}, false)
	var got []uint64
	for range 4 {
		s, err := h.Place(0x437, 512)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.Offset)
		h.Slots[0] = s
	}
	if want := []uint64{512, 2048, 3584, 5120}; !cmp.Equal(got, want) { // as LVM2 did in "ignored-1"
		t.Errorf("%v, want %v", got, want)
	}
	area := h.Size
	for _, tt := range []struct{ offset, size, n, want uint64 }{
		{area - 1024, 100, 100, area - 512},    // the last sector is still good
		{area - 1024, 513, 100, 512},           // it is taken
		{area - 512, 512, 100, 512},            // exactly full
		{area - 1024, 1024 + 100, 1000, 1024},  // the old one goes around
		{area - 2048, 1000, 5000, area - 1024}, // the new one goes around
		{512, 521472, 521472, 522240},          // two of the longest
		{522240, 521472, 521472, area - 512},   // and on, around
		{512, 400000, 500000, 400896},
	} {
		h.Slots[0] = ondisk.Slot{Offset: tt.offset, Size: tt.size}
		s, err := h.Place(tt.n, 512)
		if err != nil {
			t.Errorf("%+v: %v", tt, err)
		} else if s.Offset != tt.want {
			t.Errorf("old %d+%d, new %d bytes: at %d, want %d", tt.offset, tt.size, tt.n, s.Offset, tt.want)
		}
	}
	if _, err := h.Place(ondisk.TextLimit(area)+1, 512); !errors.Is(err, ondisk.ErrTooBig) {
		t.Error(err)
	}
	if n := ondisk.TextLimit(area); n != 521472 { // what LVM2 says it is
		t.Errorf("limit %d", n)
	}
}

// Wherever the old text is, a new one of up to the limit has a place that is clear of it, in whole sectors.
func TestThereIsAlwaysAPlace(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for i := range 20000 {
		area := uint64(8192 + 512*rnd.Intn(200))
		block := []uint64{512, 4096}[i%2]
		h := ondisk.NewHeader(ondisk.Area{Offset: 4096, Size: area}, false)
		limit := ondisk.TextLimit(area)
		for range 6 {
			n := 1 + uint64(rnd.Int63n(int64(limit)))
			if rnd.Intn(4) == 0 {
				n = limit - uint64(rnd.Intn(3))
			}
			s, err := h.Place(n, block)
			if err != nil {
				t.Fatalf("area %d, old %+v, new %d: %v", area, h.Slots[0], n, err)
			}
			used := map[uint64]bool{}
			for j, slot := range []ondisk.Slot{h.Slots[0], s} {
				if slot.Empty() {
					continue
				}
				ps, err := h.Pieces(slot)
				if err != nil {
					t.Fatal(err)
				}
				total := uint64(0)
				for _, p := range ps {
					total += p.N
					if p.Offset < h.Start+512 || p.Offset+p.N > h.Start+area {
						t.Fatalf("piece %+v outside of the ring", p)
					}
					for o := p.Offset / 512; o <= (p.Offset+p.N-1)/512; o++ {
						if j == 1 && used[o] {
							t.Fatalf("area %d: old %+v and new %+v share sector %d", area, h.Slots[0], s, o)
						}
						used[o] = true
					}
				}
				if total != slot.Size {
					t.Fatalf("pieces of %+v have %d bytes", slot, total)
				}
			}
			h.Slots[0] = s
		}
	}
}

// On disks with sectors of 4 KiB a text shares none with the header or the old text, while there is room.
func TestPlaceOnBigSectors(t *testing.T) {
	h := ondisk.NewHeader(ondisk.Area{Offset: 4096, Size: 1<<20 - 4096}, false)
	rnd := rand.New(rand.NewSource(2))
	for range 10000 {
		s, err := h.Place(1+uint64(rnd.Intn(100<<10)), 4096)
		if err != nil {
			t.Fatal(err)
		}
		if s.Offset%4096 != 0 || s.Offset < 4096 || s.Offset+s.Size > h.Size {
			t.Fatalf("%+v", s)
		}
		if o := h.Slots[0]; !o.Empty() && s.Offset/4096 <= (o.Offset+o.Size-1)/4096 && o.Offset/4096 <= (s.Offset+s.Size-1)/4096 {
			t.Fatalf("%+v shares a block with %+v", s, o)
		}
		h.Slots[0] = s
	}
}

func TestSlotsOutOfBounds(t *testing.T) {
	h := ondisk.NewHeader(ondisk.Area{Offset: 4096, Size: 8192}, false)
	for _, s := range []ondisk.Slot{
		{},
		{Offset: 511, Size: 1},
		{Offset: 8192, Size: 1},
		{Offset: 512, Size: 7681},
		{Offset: ^uint64(0), Size: 2},
		{Offset: 512, Size: ^uint64(0)},
		{Offset: 512},
	} {
		if p, err := h.Pieces(s); !errors.Is(err, ondisk.ErrSlot) {
			t.Errorf("%+v: %v, %v", s, p, err)
		}
	}
	if p, err := h.Pieces(ondisk.Slot{Offset: 8000, Size: 1000}); err != nil ||
		!cmp.Equal(p, []ondisk.Piece{{Offset: 12096, N: 192}, {Offset: 4608, N: 808}}) {
		t.Error(p, err)
	}
}

func FuzzLabel(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.hex")
	for _, name := range files {
		d := disk{}
		if b, err := os.ReadFile(name); err == nil {
			for line := range strings.Lines(string(b)) {
				var off uint64
				var row string
				if _, err := fmt.Sscanf(line, "%x %s", &off, &row); err == nil {
					d[off], _ = hex.DecodeString(row)
				}
			}
			f.Add(d.read(512, 512), true)
			f.Add(d.read(512, 512), false)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed && len(b) >= 512 {
			seal(b)
		}
		l, err := ondisk.ParseLabel(1, b)
		if err != nil {
			return
		}
		out, err := ondisk.AppendLabel(nil, l)
		if err != nil {
			if len(l.Data) == 0 {
				return
			}
			// A description that began before byte 32 may hold more than one that begins there.
			return
		}
		again, err := ondisk.ParseLabel(1, out)
		if err != nil || !cmp.Equal(l, again) {
			t.Fatalf("%v: %s", err, cmp.Diff(l, again))
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(ondisk.AppendHeader(nil, ondisk.NewHeader(ondisk.Area{Offset: 4096, Size: 1 << 20}, true)), uint64(100))
	f.Fuzz(func(t *testing.T, b []byte, n uint64) {
		if len(b) >= 512 {
			c := ondisk.CRC(ondisk.CRCInit, b[4:512])
			b[0], b[1], b[2], b[3] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
		}
		h, err := ondisk.ParseHeader(4096, b)
		if err != nil {
			return
		}
		if out := ondisk.AppendHeader(nil, h); !bytes.Equal(out, b[:512]) {
			t.Fatalf("%x\n%x", out, b[:512])
		}
		for _, s := range h.Slots {
			if ps, err := h.Pieces(s); err == nil {
				for _, p := range ps {
					if p.Offset < h.Start || p.Offset+p.N > h.Start+h.Size {
						t.Fatalf("%+v: piece %+v", h, p)
					}
				}
			}
		}
		for _, block := range []uint64{512, 4096} {
			if s, err := h.Place(n, block); err == nil {
				if _, err := h.Pieces(s); err != nil && h.Start+h.Size > h.Start {
					t.Fatalf("%+v: placed %+v: %v", h, s, err)
				}
			}
		}
	})
}
