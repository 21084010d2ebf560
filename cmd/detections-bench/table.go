//go:build cgo

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// printer writes tables for people.
type printer struct{ w io.Writer }

func (p printer) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// table prints rows in columns; the first row is the head.
func (p printer) table(title string, rows [][]string) {
	p.line("")
	if title != "" {
		p.line("%s", title)
	}
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString("  " + cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		p.line("%s", strings.TrimRight(b.String(), " "))
		if n == 0 {
			p.line("  %s", strings.Repeat("-", max(1, utf8.RuneCountInString(b.String())-2)))
		}
	}
}

// sample is what repetitions gave.
type sample []float64

func (s *sample) add(v float64)               { *s = append(*s, v) }
func (s *sample) addMS(d time.Duration)       { s.add(ms(d)) }
func (s sample) median() float64              { return s.quantile(0.5) }
func ms(d time.Duration) float64              { return float64(d.Microseconds()) / 1000 }
func perFrame(d time.Duration, n int) float64 { return ms(d) / float64(max(1, n)) }

// quantile interpolates between the neighbours.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// show is the median and the spread.
func (s sample) show(format string) string {
	if len(s) == 0 {
		return "–"
	}
	f := func(v float64) string { return fmt.Sprintf(format, v) }
	return fmt.Sprintf("%s [%s–%s]", f(s.median()), f(slices.Min(s)), f(slices.Max(s)))
}

// minus is the sample with v taken off everywhere.
func (s sample) minus(v float64) sample {
	less := slices.Clone(s)
	for i := range less {
		less[i] -= v
	}
	return less
}

func verdict(ok bool) string {
	if ok {
		return "PASS"
	}
	return "MISS"
}
