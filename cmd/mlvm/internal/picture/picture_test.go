package picture

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/metadata"
)

// group is one that LVM2 2.03.16 made: raid, snapshot and thin volumes beside plain ones.
func group(t testing.TB) *metadata.VG {
	t.Helper()
	b, err := os.ReadFile("../../../../lvm/table/testdata/gv.vg")
	if err != nil {
		t.Fatal(err)
	}
	vg, err := metadata.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

func TestText(t *testing.T) {
	got := Of(group(t)).Text(80, false)
	// Each extent has a cell here, so the drawing is exact; which letter is whose is what the legend says.
	legend := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  ([A-Za-z0-9]) (\[?[\w-]+\]?) `).FindAllStringSubmatch(got, -1) {
		legend[m[1]] = m[2]
	}
	if len(legend) != 11 {
		t.Errorf("%d volumes in the legend\n%s", len(legend), got)
	}
	var bars []string
	for l := range strings.Lines(got) {
		if strings.HasPrefix(l, "  [") {
			bars = append(bars, strings.Trim(l, " []\n"))
		}
	}
	vg := group(t)
	for i, pv := range vg.PVs() {
		if len(bars) != 3 || len(bars[i]) != int(pv.PECount) {
			t.Fatalf("bars %q", bars)
		}
		for pe := range bars[i] {
			r, _ := vg.PVRunAt(pv, metadata.Extent(pe))
			name := strings.Trim(legend[bars[i][pe:pe+1]], "[]")
			if r.LV == nil && bars[i][pe] != '.' || r.LV != nil && name != r.LV.Name {
				t.Errorf("extent %d of %s is drawn as %c, %s", pe, pv.Device, bars[i][pe], name)
			}
		}
	}
	if !strings.HasPrefix(got, "  gv: 93 extents of 4.00 MiB, ") {
		t.Error(got)
	}
	if colour := Of(vg).Text(80, true); !strings.Contains(colour, "\x1b[48;2;") {
		t.Error("no colours")
	} else if diff := cmp.Diff(got, regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(colour, "")); diff != "" {
		t.Error(diff)
	}
}

// A narrow picture shows volumes that are too small for a cell rather than the free extents around them.
func TestNarrow(t *testing.T) {
	d := Disk{Extents: 1000, Runs: []Run{{0, 400, "", 0, false}, {400, 1, "a", 0, false}, {401, 599, "", 0, false}}}
	drawn := ""
	for _, i := range d.cells(10) {
		drawn += d.Runs[i].LV + "."
	}
	if drawn != "....a......" {
		t.Errorf("%q", drawn)
	}
}

func TestSVG(t *testing.T) {
	s := Of(group(t)).SVG()
	rects := 0
	for d := xml.NewDecoder(strings.NewReader(s)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "rect" {
			rects++
		}
	}
	runs := 0
	for _, d := range Of(group(t)).Disks {
		runs += len(d.Runs)
	}
	if want := 1 + runs + 11; rects != want {
		t.Errorf("%d rectangles, want %d: the ground, the runs, the legend", rects, want)
	}
	if !strings.Contains(s, "<title>[r1_rimage_0]: extents 10 to 11</title>") {
		t.Error(s)
	}
}

// Neighbours in the legend differ in colour.
func TestColours(t *testing.T) {
	for i := range 60 {
		a, b, c := rgb(i)
		d, e, f := rgb(i + 1)
		if diff := abs(float64(a-d)) + abs(float64(b-e)) + abs(float64(c-f)); diff < 60 {
			t.Errorf("colours %d and %d differ by %v only", i, i+1, diff)
		}
	}
}
