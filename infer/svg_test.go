package infer_test

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// curve is a distribution to be drawn.
type curve struct {
	policy, what string
	class        int
	*outcome
}

// The picture's measures, and the range of its logarithmic axis.
const (
	wide, high        = 720, 400
	left, right       = 60, 20
	top, bottom       = 90, 50
	shortest, longest = 5 * ms, 5 * time.Second
)

func across(d time.Duration) float64 {
	at := math.Log(float64(max(shortest, min(longest, d)))/float64(shortest)) / math.Log(float64(longest)/float64(shortest))
	return left + at*(wide-left-right)
}

func up(share float64) float64 { return high - bottom - share*(high-top-bottom) }

// draw makes an SVG of the shares of frames that were answered within a time.
func draw(curves []curve) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", wide, high)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", wide, high)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="14">Share of frames answered within a time, mixed load (simulation)</text>`+"\n", left)
	for _, s := range []float64{0, 0.25, 0.5, 0.75, 1} {
		fmt.Fprintf(&b, `<path d="M%d %.0fH%d" stroke="#ddd"/><text x="%d" y="%.0f" text-anchor="end">%.0f %%</text>`+"\n", left, up(s), wide-right, left-6, up(s)+4, 100*s)
	}
	for _, d := range []time.Duration{5 * ms, 10 * ms, 20 * ms, 50 * ms, 100 * ms, 200 * ms, 500 * ms, time.Second, 2 * time.Second, 5 * time.Second} {
		fmt.Fprintf(&b, `<path d="M%.0f %.0fV%.0f" stroke="#eee"/><text x="%.0f" y="%d" text-anchor="middle">%v</text>`+"\n", across(d), up(0), up(1), across(d), high-bottom+18, d)
	}
	for i, c := range curves {
		colour, dash := [...]string{"#1b6ca8", "#c0392b", "#27864a"}[c.class], ""
		if c.policy == "fifo" {
			dash = ` stroke-dasharray="5 4"`
		}
		fmt.Fprintf(&b, `<path fill="none" stroke="%s" stroke-width="2"%s d="M`, colour, dash)
		for q := 0; q <= 200; q++ {
			share := float64(q) / 200
			fmt.Fprintf(&b, "%.1f %.1f ", across(c.p(share)), up(share))
		}
		x, y := left+i/3*330, 40+i%3*15
		fmt.Fprintf(&b, `"/><path d="M%d %dh24" stroke="%s" stroke-width="2"%s/><text x="%d" y="%d">%s: %s</text>`+"\n", x, y-4, colour, dash, x+30, y, c.policy, c.what)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
