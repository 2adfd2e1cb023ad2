package picture

import (
	"fmt"
	"html"
	"strings"

	"morgana/lvm/metadata"
)

// Measures of an SVG, in its units.
const (
	svgWidth  = 1000
	svgMargin = 20
	svgBar    = 40
	svgStep   = 80
	svgLine   = 22
)

// SVG draws the picture as a document of its own: a bar for each disk, to scale, with a title at each run.
func (p *Picture) SVG() string {
	used := p.used()
	index := map[string]int{}
	for i, n := range used {
		index[n] = i
	}
	widest := metadata.Extent(1)
	for _, d := range p.Disks {
		widest = max(widest, d.Extents)
	}
	columns := 4
	height := 2*svgMargin + 30 + len(p.Disks)*svgStep + (len(used)+columns-1)/columns*svgLine
	scale := float64(svgWidth-2*svgMargin) / float64(widest)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", svgWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", svgWidth, height)
	fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="18">%s</text>`+"\n", svgMargin, svgMargin+14, html.EscapeString(p.Group))
	y := svgMargin + 30
	for _, d := range p.Disks {
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s, %d extents of %s</text>`+"\n", svgMargin, y+14, html.EscapeString(d.Name), d.Extents, metadata.FormatSize(p.ExtentSize))
		for _, r := range d.Runs {
			fill, what := "#eee", "free"
			if r.LV != "" {
				red, green, blue := rgb(index[r.LV])
				fill, what = fmt.Sprintf("#%02x%02x%02x", red, green, blue), shown(p, r.LV)
			}
			x, w := svgMargin+float64(r.Start)*scale, float64(r.Count)*scale
			fmt.Fprintf(&b, `<rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s" stroke="#fff" stroke-width="0.5"><title>%s: extents %d to %d</title></rect>`+"\n",
				x, y+20, w, svgBar, fill, html.EscapeString(what), r.Start, r.Start+r.Count-1)
			if r.LV != "" && w > float64(8*len(what)+8) {
				fmt.Fprintf(&b, `<text x="%.2f" y="%d" text-anchor="middle">%s</text>`+"\n", x+w/2, y+20+svgBar/2+5, html.EscapeString(what))
			}
		}
		y += svgStep
	}
	for i, name := range used {
		red, green, blue := rgb(i)
		x := svgMargin + i%columns*(svgWidth-2*svgMargin)/columns
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="14" height="14" fill="#%02x%02x%02x"/><text x="%d" y="%d">%s</text>`+"\n",
			x, y, red, green, blue, x+20, y+12, html.EscapeString(shown(p, name)))
		if i%columns == columns-1 {
			y += svgLine
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
