package main

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"
)

// Sizes in pixels.
const (
	column, row = 50, 32 // of Grafana's grid of 24 columns
	headHeight  = 40
	mostNames   = 6 // in a legend
)

var colours = []string{"#2a9d8f", "#e76f51", "#457b9d", "#e9a820", "#8e6bbf", "#6a994e", "#d1495b", "#5c677d", "#00798c", "#b56576"}

// canvas is the picture while it is drawn.
type canvas struct {
	strings.Builder
	query query
}

func newCanvas(d dashboard, q query) *canvas {
	height := 0
	for _, p := range d.Panels {
		height = max(height, (p.GridPos.Y+p.GridPos.H)*row)
	}
	c := &canvas{query: q}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" fill="#222">`+"\n", 24*column, height+headHeight+8)
	fmt.Fprintf(c, `<rect width="100%%" height="100%%" fill="#f4f5f5"/><text x="12" y="26" font-size="17">%s</text>`+"\n", html.EscapeString(d.Title))
	fmt.Fprintf(c, `<text x="%d" y="26" text-anchor="end" fill="#666">last %v, a point each %v</text>`+"\n", 24*column-12, q.to.Sub(q.from), q.step)
	return c
}

func (c *canvas) end() string {
	c.WriteString("</svg>\n")
	return c.String()
}

// box is where the lines of a panel are.
type box struct {
	x, y, w, h float64
	query      query
	most       float64
}

func (b box) place(p point) string {
	from, to := float64(b.query.from.UnixMilli())/1000, float64(b.query.to.UnixMilli())/1000
	return fmt.Sprintf("%.1f,%.1f", b.x+b.w*(p.at-from)/(to-from), b.y+b.h*(1-min(1, max(0, p.value/b.most))))
}

func (c *canvas) panel(p panel, lines []line) {
	x, y := float64(p.GridPos.X*column+4), float64(p.GridPos.Y*row+headHeight)
	w, h := float64(p.GridPos.W*column-8), float64(p.GridPos.H*row-8)
	fmt.Fprintf(c, `<rect x="%g" y="%g" width="%g" height="%g" rx="3" fill="#fff" stroke="#ddd"/><text x="%g" y="%g" font-size="13">%s</text>`+"\n",
		x, y, w, h, x+10, y+20, html.EscapeString(p.Title))
	b := box{x: x + 56, y: y + 32, w: w - 68, h: h - 90, query: c.query, most: niceTop(lines)}
	for i := range 5 {
		v := float64(i) / 4
		at := b.y + b.h*(1-v)
		fmt.Fprintf(c, `<path d="M%g %gh%g" stroke="#eee"/><text x="%g" y="%g" text-anchor="end" fill="#666">%s</text>`+"\n", b.x, at, b.w, b.x-6, at+4, show(v*b.most, p.FieldConfig.Defaults.Unit))
	}
	for i := range 5 {
		back := c.query.to.Sub(c.query.from).Seconds() * float64(4-i) / 4
		fmt.Fprintf(c, `<text x="%g" y="%g" text-anchor="middle" fill="#666">%s</text>`+"\n", b.x+b.w*float64(i)/4, b.y+b.h+14, ago(back))
	}
	if len(lines) == 0 {
		fmt.Fprintf(c, `<text x="%g" y="%g" text-anchor="middle" fill="#999">none</text>`+"\n", b.x+b.w/2, b.y+b.h/2)
		return
	}
	// The highest are named; all are drawn.
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(highest(b), highest(a)) })
	for i, l := range lines {
		c.line(b, l, colours[i%len(colours)])
	}
	c.legend(x+10, b.y+b.h+30, w-20, lines)
}

func (c *canvas) line(b box, l line, colour string) {
	var d strings.Builder
	last := 0.0
	for _, p := range l.points {
		move := "L"
		if last == 0 || p.at-last > 3*c.query.step.Seconds() {
			move = "M"
		}
		d.WriteString(move + b.place(p))
		last = p.at
	}
	fmt.Fprintf(c, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", d.String(), colour)
}

func (c *canvas) legend(x, y, w float64, lines []line) {
	at := x
	for i, l := range lines {
		text := l.name
		if i == mostNames {
			text = fmt.Sprintf("and %d more", len(lines)-mostNames)
		}
		width := 22 + 6.6*float64(len(text))
		if at+width > x+w && at > x {
			at, y = x, y+15
		}
		if i < mostNames {
			fmt.Fprintf(c, `<path d="M%.1f %gh10" stroke="%s" stroke-width="3"/>`, at, y-4, colours[i%len(colours)])
		}
		fmt.Fprintf(c, `<text x="%.1f" y="%g">%s</text>`+"\n", at+14, y, html.EscapeString(text))
		if i == mostNames {
			return
		}
		at += width
	}
}

func highest(l line) float64 {
	most := 0.0
	for _, p := range l.points {
		most = max(most, p.value)
	}
	return most
}

// niceTop is the end of the axis: 1, 2 or 5 times a power of ten.
func niceTop(lines []line) float64 {
	most := 0.0
	for _, l := range lines {
		most = max(most, highest(l))
	}
	top := 1e-6
	for factors, i := []float64{2, 2.5, 2}, 0; top < most; i++ {
		top *= factors[i%3]
	}
	if most == 0 {
		return 1
	}
	return top
}

func ago(seconds float64) string {
	if seconds == 0 {
		return "now"
	}
	return fmt.Sprintf("−%.0f s", seconds)
}

// show writes a value of a unit, as Grafana names units.
func show(v float64, unit string) string {
	number := func(v float64, unit string) string { return strings.TrimSpace(fmt.Sprintf("%.3g %s", v, unit)) }
	switch {
	case unit == "percentunit":
		return number(100*v, "%")
	case unit == "bytes":
		return number(v/1e6, "MB")
	case unit == "s" && v < 0.001 && v > 0:
		return number(v*1e6, "µs")
	case unit == "s" && v < 1 && v > 0:
		return number(v*1000, "ms")
	case unit == "s":
		return number(v, "s")
	case unit == "reqps":
		return number(v, "/s")
	}
	return number(v, "")
}
