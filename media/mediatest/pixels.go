package mediatest

import (
	"image"
	"image/png"
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"detections/media"
)

// tail makes a file of a part of another.
func tail(t testing.TB, f *os.File, from, to int64) *os.File {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	if _, err := io.Copy(out, io.NewSectionReader(f, from, to-from)); err != nil {
		t.Fatal(err)
	}
	return out
}

// Reference is what a picture must look like in a view, computed slowly with the
// standard library: a triangle filter, as wide as the reduction. shift moves it by
// source pixels.
func Reference(t testing.TB, img image.Image, v media.View, shift float64) []byte {
	b := img.Bounds()
	g := v.Place(b.Dx(), b.Dy())
	out := make([]byte, v.Size())
	for i := range out {
		out[i] = v.Fill
	}
	src := make([][3]float64, b.Dx()*b.Dy())
	for y := range b.Dy() {
		for x := range b.Dx() {
			r, gr, bl, _ := img.At(b.Min.X+x, b.Min.Y+y).RGBA()
			src[y*b.Dx()+x] = [3]float64{float64(r >> 8), float64(gr >> 8), float64(bl >> 8)}
		}
	}
	xs, ys := weights(g.W, b.Dx(), shift), weights(g.H, b.Dy(), shift)
	for y := range g.H {
		for x := range g.W {
			var sum [3]float64
			for _, wy := range ys[y] {
				for _, wx := range xs[x] {
					p := src[wy.i*b.Dx()+wx.i]
					for c := range sum {
						sum[c] += p[c] * wx.w * wy.w
					}
				}
			}
			at := ((g.Y+y)*v.Width + g.X + x) * 3
			for c := range sum {
				k := c
				if v.Format == media.BGR24 {
					k = 2 - c
				}
				out[at+k] = byte(math.Round(min(max(sum[c], 0), 255)))
			}
		}
	}
	return out
}

type weight struct {
	i int
	w float64
}

// weights are the source samples of each of n output samples.
func weights(n, of int, shift float64) [][]weight {
	scale := float64(of) / float64(n)
	width := max(scale, 1)
	out := make([][]weight, n)
	for i := range out {
		centre := (float64(i)+0.5)*scale - 0.5 + shift
		sum := 0.0
		for j := int(math.Ceil(centre - width)); j <= int(centre+width); j++ {
			w := max(0, 1-math.Abs(float64(j)-centre)/width)
			out[i] = append(out[i], weight{min(max(j, 0), of-1), w})
			sum += w
		}
		for j := range out[i] {
			out[i][j].w /= sum
		}
	}
	return out
}

// Difference is the mean absolute difference of two pictures.
func Difference(a, b []byte) float64 {
	sum := 0.0
	for i := range a {
		sum += math.Abs(float64(a[i]) - float64(b[i]))
	}
	return sum / float64(len(a))
}

// Picture reads a PNG.
func Picture(t testing.TB, name string) image.Image {
	t.Helper()
	f, _ := Open(t, name)
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// references are the pictures that pixels compares with. Making one takes longer
// than decoding a file.
type references map[media.PixelFormat]map[float64][]byte

func makeReferences(t testing.TB) references {
	img := Picture(t, "frame.png")
	r := references{media.BGR24: {}, media.RGB24: {}}
	for format, made := range r {
		v := View
		v.Format = format
		for _, shift := range []float64{0, 0.5, -0.5} {
			made[shift] = Reference(t, img, v, shift)
		}
	}
	return r
}

func (s suite) pixels(t *testing.T) {
	refs := makeReferences(t)
	for _, name := range []string{"frame.png", "frame.jpg", "people.mp4", "people-vp9.webm"} {
		for _, format := range []media.PixelFormat{media.BGR24, media.RGB24} {
			v := View
			v.Format = format
			job := media.Job{Views: []media.View{v}, Sample: media.Sample{Every: 40}}
			seen := false
			s.all(t, name, job, func(f *media.Frame) {
				if strings.HasPrefix(name, "people") && f.Index != 40 {
					return // frame.png is frame 40 of people.mp4
				}
				if g := f.Views[0].Geometry; g != v.Place(768, 576) {
					t.Errorf("%s: geometry %+v", name, g)
				}
				seen = true
				pix := f.Views[0].Pix
				right := Difference(pix, refs[format][0])
				t.Logf("%s in format %d differs by %.2f", name, format, right)
				for what, wrong := range map[string]float64{
					"the other colour order":       Difference(pix, refs[1-format][0]),
					"a shift of half a pixel":      Difference(pix, refs[format][0.5]),
					"a shift of half a pixel back": Difference(pix, refs[format][-0.5]),
				} {
					t.Logf("from %s by %.2f", what, wrong)
					if right > 0.8*wrong {
						t.Errorf("%s: differs by %.2f, from %s by %.2f", name, right, what, wrong)
					}
				}
			})
			if !seen {
				t.Errorf("%s: no picture", name)
			}
		}
	}
}

func (s suite) views(t *testing.T) {
	img := Picture(t, "frame.png")
	views := []media.View{
		View,
		{Width: 64, Height: 64, Format: media.RGB24, Fit: media.Stretch},
		{Width: 333, Height: 97, Fill: 7},
		{Width: 3, Height: 5},
		{Width: 101, Height: 640, Fill: 255},
		{Width: 200, Height: 90, Fill: 114, Fit: media.Corner},
		{Width: 90, Height: 200, Fill: 9, Fit: media.Corner},
	}
	s.all(t, "frame.png", media.Job{Views: views}, func(f *media.Frame) {
		for i, v := range views {
			if d := Difference(f.Views[i].Pix, Reference(t, img, v, 0)); d > 3 {
				t.Errorf("view %+v differs by %.2f", v, d)
			}
		}
	})
}
