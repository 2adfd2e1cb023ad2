// Package picture draws who has which extents of a volume group: as lines for a terminal, with colours or with letters,
// and as SVG. It is pure.
package picture

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"morgana/lvm/metadata"
)

// A Disk is a physical volume in a picture.
type Disk struct {
	Name    string
	Extents metadata.Extent
	Runs    []Run
}

// A Run is extents that belong together: to one segment of a volume, or to nobody.
type Run struct {
	Start  metadata.Extent `json:"start"`
	Count  metadata.Extent `json:"count"`
	LV     string          `json:"lv_name"` // "" for free
	Stripe int             `json:"stripe"`
	Hidden bool            `json:"hidden,omitempty"` // not a volume that users see
}

// A Picture is a group's.
type Picture struct {
	Group      string
	ExtentSize uint64 // sectors
	Disks      []Disk
	names      []string // of volumes, in the order of the metadata
}

// Of makes the picture of a group.
func Of(vg *metadata.VG) *Picture {
	p := &Picture{Group: vg.Name(), ExtentSize: vg.ExtentSize()}
	for lv := range vg.LVs() {
		p.names = append(p.names, lv.Name)
	}
	for _, pv := range vg.PVs() {
		d := Disk{Name: pv.Device, Extents: pv.PECount}
		if pv.Missing() {
			d.Name = "[missing] " + pv.ID.String()
		}
		for r := range vg.PVRuns(pv) {
			run := Run{Start: r.Start, Count: r.Count, Stripe: r.Stripe}
			if r.LV != nil {
				run.LV, run.Hidden = r.LV.Name, !r.LV.Visible()
			}
			d.Runs = append(d.Runs, run)
		}
		p.Disks = append(p.Disks, d)
	}
	return p
}

// used are the volumes that have extents, in their order.
func (p *Picture) used() []string {
	var names []string
	for _, name := range p.names {
		if slices.ContainsFunc(p.Disks, func(d Disk) bool {
			return slices.ContainsFunc(d.Runs, func(r Run) bool { return r.LV == name })
		}) {
			names = append(names, name)
		}
	}
	return names
}

// letters stand for volumes where there are no colours. Free extents are dots.
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func letter(i int) string { return letters[i%len(letters) : i%len(letters)+1] }

// hue spreads colours around the circle, so that neighbours differ and the first ones do not depend on how many follow.
func hue(i int) int { return i * 137 % 360 }

// rgb is a colour of even lightness.
func rgb(i int) (r, g, b int) {
	const s, l = 0.60, 0.62
	c := (1 - abs(2*l-1)) * s
	h := float64(hue(i)) / 60
	x := c * (1 - abs(h-2*float64(int(h/2))-1))
	var f [3]float64
	switch int(h) {
	case 0:
		f = [3]float64{c, x, 0}
	case 1:
		f = [3]float64{x, c, 0}
	case 2:
		f = [3]float64{0, c, x}
	case 3:
		f = [3]float64{0, x, c}
	case 4:
		f = [3]float64{x, 0, c}
	default:
		f = [3]float64{c, 0, x}
	}
	m := l - c/2
	to := func(v float64) int { return int((v+m)*255 + 0.5) }
	return to(f[0]), to(f[1]), to(f[2])
}

func abs(f float64) float64 {
	if f < 0 {
		return -f
	}
	return f
}

// cells shares width cells among a disk's extents: each gets who has the first of its extents, and a run that has too
// few for a cell of its own is seen all the same where there is room.
func (d Disk) cells(width int) []int {
	cells := make([]int, 0, width)
	if d.Extents == 0 {
		return cells
	}
	width = min(width, int(d.Extents))
	run := 0
	for i := range width {
		at := metadata.Extent(uint64(i) * uint64(d.Extents) / uint64(width))
		end := metadata.Extent(uint64(i+1) * uint64(d.Extents) / uint64(width))
		for run < len(d.Runs)-1 && d.Runs[run].Start+d.Runs[run].Count <= at {
			run++
		}
		best := run
		for j := run; j < len(d.Runs) && d.Runs[j].Start < end; j++ {
			if d.Runs[j].Start >= at && d.Runs[best].LV == "" && d.Runs[j].LV != "" {
				best = j // something rather than nothing
			}
		}
		cells = append(cells, best)
	}
	return cells
}

// Text draws lines of width columns.
func (p *Picture) Text(width int, colour bool) string {
	var b strings.Builder
	index := map[string]int{}
	used := p.used()
	for i, n := range used {
		index[n] = i
	}
	bar := max(width-4, 10)
	widest := metadata.Extent(1)
	for _, d := range p.Disks {
		widest = max(widest, d.Extents)
	}
	var total, free metadata.Extent
	for _, d := range p.Disks {
		total += d.Extents
		for _, r := range d.Runs {
			if r.LV == "" {
				free += r.Count
			}
		}
	}
	fmt.Fprintf(&b, "  %s: %d extents of %s, %d free\n", p.Group, total, metadata.FormatSize(p.ExtentSize), free)
	for _, d := range p.Disks {
		n := max(int(uint64(bar)*uint64(d.Extents)/uint64(widest)), 1)
		fmt.Fprintf(&b, "  %s\n  [", d.Name)
		for _, i := range d.cells(n) {
			r := d.Runs[i]
			switch {
			case r.LV == "":
				b.WriteByte('.')
			case colour:
				red, green, blue := rgb(index[r.LV])
				fmt.Fprintf(&b, "\x1b[48;2;%d;%d;%d;30m%s\x1b[0m", red, green, blue, letter(index[r.LV]))
			default:
				b.WriteString(letter(index[r.LV]))
			}
		}
		b.WriteString("]\n")
	}
	for i, name := range used {
		mark := letter(i)
		if colour {
			red, green, blue := rgb(i)
			mark = fmt.Sprintf("\x1b[48;2;%d;%d;%d;30m%s\x1b[0m", red, green, blue, mark)
		}
		fmt.Fprintf(&b, "  %s %s%s\n", mark, shown(p, name), p.where(name))
	}
	return b.String()
}

// shown is a volume's name; hidden ones are in brackets, as in reports.
func shown(p *Picture, name string) string {
	for _, d := range p.Disks {
		for _, r := range d.Runs {
			if r.LV == name && r.Hidden {
				return "[" + name + "]"
			}
		}
	}
	return name
}

// short is a disk's name without its directory, if that is enough.
func (p *Picture) short(name string) string {
	base := path.Base(name)
	n := 0
	for _, d := range p.Disks {
		if path.Base(d.Name) == base {
			n++
		}
	}
	if n > 1 {
		return name
	}
	return base
}

// where lists a volume's extents.
func (p *Picture) where(name string) string {
	const most = 8
	var b strings.Builder
	n := 0
	for _, d := range p.Disks {
		for _, r := range d.Runs {
			if r.LV != name {
				continue
			}
			if n++; n <= most {
				fmt.Fprintf(&b, " %s:%d-%d", p.short(d.Name), r.Start, r.Start+r.Count-1)
			}
		}
	}
	if n > most {
		fmt.Fprintf(&b, " and %d more", n-most)
	}
	return b.String()
}
