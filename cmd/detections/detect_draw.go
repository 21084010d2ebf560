package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	_ "image/gif" // a format that pictures may have
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"

	_ "golang.org/x/image/bmp" // a format that pictures may have
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
	_ "golang.org/x/image/webp" // a format that pictures may have

	"detections/media"
	"detections/session/wire"
)

// savePicture draws what was found into a copy of the picture.
func (d *detector) savePicture(in *input, text []byte, m *wire.Detections, sum *summary) error {
	src, format, err := image.Decode(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("--save-frames: this program cannot draw on such a picture: %w", err)
	}
	canvas := upright(src, text)
	if size := canvas.Bounds().Size(); size != image.Pt(m.Width, m.Height) {
		return fmt.Errorf("--save-frames: the hub sees a picture of %d×%d pixels, this program one of %d×%d", m.Width, m.Height, size.X, size.Y)
	}
	ext := ".jpg"
	if format != "jpeg" {
		ext = ".png" // nothing is lost
	}
	return d.saveCanvas(canvas, m, stem(in)+ext, sum)
}

// saveVideo decodes the file once more, in full size, and draws what was found.
func (d *detector) saveVideo(ctx context.Context, in *input, found map[int64]*wire.Detections, sum *summary) error {
	if sum.Width > media.MaxViewSide || sum.Height > media.MaxViewSide {
		return fmt.Errorf("--save-frames: pictures of at most %d pixels a side can be drawn, these have %d×%d", media.MaxViewSide, sum.Width, sum.Height)
	}
	f, err := os.Open(in.file)
	if err != nil {
		return err
	}
	defer f.Close()
	job := media.Job{
		Views:  []media.View{{Width: sum.Width, Height: sum.Height, Format: media.RGB24, Fit: media.Letterbox}},
		Sample: d.start(in).Sample.Rule(), Container: d.container,
	}
	dec, err := d.here.decoders.Start(ctx, f, job)
	if err != nil {
		return err
	}
	defer func() { _ = dec.Close() }() // it was only read from
	dec.Grow(in.size, true)
	for left := len(found); left > 0; {
		o, err := dec.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("--save-frames: %w", err)
		case o.Frame == nil:
			continue
		}
		m := found[o.Frame.Index]
		var canvas *image.RGBA
		if m != nil {
			canvas = toRGBA(o.Frame.Views[0].Pix, sum.Width, sum.Height)
			left--
		}
		o.Frame.Release()
		if m == nil {
			continue
		}
		if err := d.saveCanvas(canvas, m, fmt.Sprintf("%s-%06d.jpg", stem(in), m.Frame), sum); err != nil {
			return err
		}
	}
	return nil
}

func toRGBA(pix []byte, w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		copy(m.Pix[4*i:4*i+3], pix[3*i:3*i+3])
		m.Pix[4*i+3] = 0xff
	}
	return m
}

// stem is the name of an input's pictures, without an extension.
func stem(in *input) string { return strings.TrimSuffix(in.out, filepath.Ext(in.out)) }

// saveCanvas draws the boxes and writes the picture.
func (d *detector) saveCanvas(m *image.RGBA, found *wire.Detections, name string, sum *summary) error {
	for _, det := range found.Detections {
		drawBox(m, det)
	}
	path := filepath.Join(d.saveTo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // G301: the user's results, under his umask
		return &outputError{path, "", err}
	}
	f, err := os.Create(path) //nolint:gosec // G304: the user names the folder
	if err != nil {
		return &outputError{path, "", err}
	}
	if filepath.Ext(name) == ".png" {
		err = png.Encode(f, m)
	} else {
		err = jpeg.Encode(f, m, &jpeg.Options{Quality: 90})
	}
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // half a picture is of no use
		return &outputError{path, written, err}
	}
	sum.saved++
	return nil
}

// palette has colours that can be told apart, also from most of a street.
var palette = []color.RGBA{
	{0xff, 0xd4, 0x00, 0xff},
	{0x00, 0xc8, 0xff, 0xff},
	{0xff, 0x5c, 0x8a, 0xff},
	{0x7c, 0xff, 0x6b, 0xff},
	{0xff, 0x8c, 0x1a, 0xff},
	{0xb5, 0x8c, 0xff, 0xff},
	{0x00, 0xff, 0xc8, 0xff},
	{0xff, 0xff, 0xff, 0xff},
}

// drawBox draws a box with its label and confidence above it.
func drawBox(m *image.RGBA, d wire.Detection) {
	size := max(1, m.Bounds().Dx()/640) // of a line, and of a dot of the letters
	ink := image.NewUniform(palette[max(0, d.Class)%len(palette)])
	x0, y0 := int(d.Box[0]), int(d.Box[1])
	x1, y1 := int(d.Box[0]+d.Box[2]), int(d.Box[1]+d.Box[3])
	for _, r := range []image.Rectangle{
		image.Rect(x0, y0, x1, y0+2*size), image.Rect(x0, y1-2*size, x1, y1),
		image.Rect(x0, y0, x0+2*size, y1), image.Rect(x1-2*size, y0, x1, y1),
	} {
		draw.Draw(m, r, ink, image.Point{}, draw.Src)
	}
	text := fmt.Sprintf("%s %.0f%%", d.Label, 100*d.Confidence)
	if d.Track != 0 {
		text = fmt.Sprintf("%s #%d", text, d.Track)
	}
	drawText(m, ink, text, image.Pt(x0, y0), size)
}

// drawText writes black letters on a plate that stands on a point, or hangs from it.
func drawText(m *image.RGBA, plate image.Image, text string, at image.Point, size int) {
	face := basicfont.Face7x13
	w := font.MeasureString(face, text).Ceil() + 4
	h := face.Height + 2
	mask := image.NewAlpha(image.Rect(0, 0, w, h))
	(&font.Drawer{Dst: mask, Src: image.Opaque, Face: face, Dot: fixed.P(2, face.Ascent+1)}).DrawString(text)
	y := at.Y - h*size
	if y < 0 {
		y = at.Y
	}
	x := max(0, min(at.X, m.Bounds().Dx()-w*size))
	draw.Draw(m, image.Rect(x, y, x+w*size, y+h*size), plate, image.Point{}, draw.Src)
	for dy := range h {
		for dx := range w {
			if mask.AlphaAt(dx, dy).A > 0x80 {
				draw.Draw(m, image.Rect(x+dx*size, y+dy*size, x+(dx+1)*size, y+(dy+1)*size), image.Black, image.Point{}, draw.Src)
			}
		}
	}
}
