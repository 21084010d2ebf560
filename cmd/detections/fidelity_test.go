//go:build cgo

package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"

	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
	"detections/media"
	"detections/media/av"
	"detections/media/mediatest"
)

// What H.264 may change: the bounds for boxes, and for pixels a bound that
// lies between what an encoder does and what half a pixel does.
const (
	minIoU       = 0.9
	maxDelta     = 0.03
	minAgreement = 0.99
	maxPixels    = 1.2 // mean difference, of 255
)

// TestFidelityOfDetections: boxes of real H.264 are those of the pictures that it
// was made from, scaled by code that shares nothing with ours. Then the reference
// is made wrong in the ways in which a pipeline can be, and each is noticed.
func TestFidelityOfDetections(t *testing.T) {
	e := openEmbedded(t)
	v := e.Model().Input.View()
	decoded := map[int64][]byte{}
	f, err := os.Open(mediatest.Path(t, "plain.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, _ := f.Stat()
	d, err := av.Open(f, media.Job{Views: []media.View{v}, Sample: media.Sample{Every: 4}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Grow(fi.Size(), true)
	mediatest.Drain(t, d, func(f *media.Frame) { decoded[f.Index] = bytes.Clone(f.Views[0].Pix) })

	var references, halfOff [][]byte
	for i := range 5 {
		img := mediatest.Picture(t, fmt.Sprintf("reference-%d.png", i+1))
		references = append(references, mediatest.Reference(t, img, v, 0))
		halfOff = append(halfOff, mediatest.Reference(t, img, v, 0.5))
	}
	place := v.Place(768, 576)
	faithful := func(refs [][]byte) (agreement, pixels float64) {
		all, same := 0, 0
		for i, ref := range refs {
			got := decoded[int64(4*i)]
			pixels += mediatest.Difference(got, ref) / float64(len(refs))
			want, near := boxes(t, e, ref, place)
			found, nearFound := boxes(t, e, got, place)
			all += len(want) + len(found)
			same += agreeing(want, nearFound) + agreeing(found, near)
		}
		return float64(same) / float64(all), pixels
	}
	agreement, pixels := faithful(references)
	t.Logf("%.1f %% of boxes agree, pixels differ by %.2f", 100*agreement, pixels)
	if agreement < minAgreement || pixels > maxPixels {
		t.Errorf("%.1f %% of boxes agree, pixels differ by %.2f", 100*agreement, pixels)
	}
	wrong := map[string][][]byte{"a shift of half a pixel": halfOff}
	for name, change := range map[string]func(b []byte) []byte{
		"the wrong matrix": func(b []byte) []byte { return recolour(b, v, wrongMatrix) },
		"the wrong range":  func(b []byte) []byte { return recolour(b, v, wrongRange) },
		"a turn by 180°":   reverse,
	} {
		for _, ref := range references {
			wrong[name] = append(wrong[name], change(ref))
		}
	}
	for name, refs := range wrong {
		agreement, pixels := faithful(refs)
		t.Logf("with %s %.1f %% of boxes agree, pixels differ by %.2f", name, 100*agreement, pixels)
		if agreement >= minAgreement && pixels <= maxPixels {
			t.Errorf("%s is not noticed: %.1f %% of boxes agree, pixels differ by %.2f", name, 100*agreement, pixels)
		}
	}
}

func openEmbedded(t *testing.T) infer.Engine {
	t.Helper()
	file, err := loader.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if err := ort.Init(os.Getenv("ORT_LIBRARY")); err != nil {
		t.Fatal(err)
	}
	m, err := ort.Describe(file.Bytes, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ort.Open(file.Bytes, m, ort.Options{Providers: []string{"cpu"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// boxes are those above the threshold; near are also those so little below it that
// a box of the other picture, just above, may be the same.
func boxes(t *testing.T, e infer.Engine, pix []byte, g media.Geometry) (above, near []infer.Detection) {
	t.Helper()
	infer.NewNormalizer(e.Model().Input).Convert(e.Input(0), pix)
	if err := e.Run(1); err != nil {
		t.Fatal(err)
	}
	var p infer.Postprocessor
	above = slices.Clone(p.Detect(e, 0, nil, g))
	near = slices.Clone(p.Detect(e, 0, &infer.Detect{Threshold: infer.DefaultThreshold - maxDelta, IoU: infer.DefaultIoU}, g))
	return above, near
}

// agreeing counts the boxes that have a partner.
func agreeing(want, got []infer.Detection) (n int) {
	for _, w := range want {
		if slices.ContainsFunc(got, func(g infer.Detection) bool {
			return g.Class == w.Class && iou(g.Box, w.Box) >= minIoU && max(g.Confidence-w.Confidence, w.Confidence-g.Confidence) <= maxDelta
		}) {
			n++
		}
	}
	return n
}

func iou(a, b infer.Box) float32 {
	w := min(a.X+a.W, b.X+b.W) - max(a.X, b.X)
	h := min(a.Y+a.H, b.Y+b.H) - max(a.Y, b.Y)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h / (a.W*a.H + b.W*b.H - w*h)
}

// recolour changes every pixel, given and returned as red, green, blue.
func recolour(pix []byte, v media.View, change func(r, g, b float64) (float64, float64, float64)) []byte {
	out := bytes.Clone(pix)
	r, b := 0, 2
	if v.Format == media.BGR24 {
		r, b = 2, 0
	}
	for i := 0; i < len(out); i += 3 {
		if out[i] == v.Fill && out[i+1] == v.Fill && out[i+2] == v.Fill {
			continue // the border
		}
		x, y, z := change(float64(out[i+r]), float64(out[i+1]), float64(out[i+b]))
		for k, c := range map[int]float64{r: x, 1: y, b: z} {
			out[i+k] = byte(min(max(c, 0), 255) + 0.5)
		}
	}
	return out
}

// wrongMatrix takes the luma and chroma of BT.601 for those of BT.709.
func wrongMatrix(r, g, b float64) (float64, float64, float64) {
	y := 0.299*r + 0.587*g + 0.114*b
	u, v := (b-y)/1.772, (r-y)/1.402
	return y + 1.5748*v, y - 0.1873*u - 0.4681*v, y + 1.8556*u
}

// wrongRange takes limited range for full.
func wrongRange(r, g, b float64) (float64, float64, float64) {
	squeeze := func(c float64) float64 { return 16 + c*219/255 }
	return squeeze(r), squeeze(g), squeeze(b)
}

func reverse(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := len(b) - 3; i >= 0; i -= 3 {
		out = append(out, b[i:i+3]...)
	}
	return out
}
