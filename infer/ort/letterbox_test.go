//go:build cgo

package ort

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"detections/infer"
	"detections/media"
)

// picture is a golden image's pixels, and the reference letterbox of the golden
// file: floating point, not rounded.
type picture struct {
	w, h  int
	rgb   []byte
	shift float64 // error made on purpose, in source pixels
}

func loadPNG(t testing.TB, g goldenImage) picture {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", g.File))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	p := picture{w: img.Bounds().Dx(), h: img.Bounds().Dy()}
	for y := range p.h {
		for x := range p.w {
			r, g, b, _ := img.At(x, y).RGBA()
			p.rgb = append(p.rgb, byte(r>>8), byte(g>>8), byte(b>>8))
		}
	}
	if sum := md5.Sum(p.rgb); hex.EncodeToString(sum[:]) != g.MD5 {
		t.Fatalf("%s: the pixels have md5 %x, want %s", g.File, sum, g.MD5)
	}
	return p
}

// exact fills a network's input with the letterboxed picture.
func (p picture) exact(in infer.Input, dst []float32) {
	p.letterbox(in.View(), func(c, x, y int, v float32) {
		dst[c*in.Width*in.Height+y*in.Width+x] = (v - in.Mean[c]) / in.Std[c]
	})
}

// rounded is the letterboxed picture as a decoder delivers it.
func (p picture) rounded(v media.View) []byte {
	pix := make([]byte, v.Size())
	p.letterbox(v, func(c, x, y int, value float32) { pix[(y*v.Width+x)*3+c] = byte(value + 0.5) })
	return pix
}

// letterbox calls set for each value of a BGR view.
func (p picture) letterbox(v media.View, set func(c, x, y int, value float32)) {
	g := v.Place(p.w, p.h)
	for y := range v.Height {
		y0, y1, fy := p.source(y-g.Y, g.H, p.h)
		for x := range v.Width {
			x0, x1, fx := p.source(x-g.X, g.W, p.w)
			inside := x >= g.X && x < g.X+g.W && y >= g.Y && y < g.Y+g.H
			for c := range 3 {
				var value float32
				if inside {
					at := func(x, y int) float32 { return float32(p.rgb[(y*p.w+x)*3+2-c]) }
					top := at(x0, y0)*(1-fx) + at(x1, y0)*fx
					bottom := at(x0, y1)*(1-fx) + at(x1, y1)*fx
					value = top*(1-fy) + bottom*fy
				}
				set(c, x, y, value)
			}
		}
	}
}

// source maps a pixel of the scaled picture to the two of the source it lies
// between, and how far.
func (p picture) source(dst, size, full int) (i, j int, f float32) {
	s := (float64(dst)+0.5)*float64(full)/float64(size) - 0.5 + p.shift
	s = min(max(s, 0), float64(full-1))
	i = int(s)
	return i, min(i+1, full-1), float32(s - float64(i))
}

// bytesOf is how numbers lie in memory.
func bytesOf(values []float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}
