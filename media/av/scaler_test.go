package av

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// picture makes a frame of a pixel format from packed planes.
func picture(t testing.TB, format astiav.PixelFormat, w, h int, pix []byte) *astiav.Frame {
	t.Helper()
	f := astiav.AllocFrame()
	t.Cleanup(f.Free)
	f.SetPixelFormat(format)
	f.SetWidth(w)
	f.SetHeight(h)
	if err := f.AllocBuffer(0); err != nil {
		t.Fatal(err)
	}
	if err := f.Data().SetBytes(pix, 1); err != nil {
		t.Fatal(err)
	}
	return f
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// slot makes the memory of a frame with guards around each view.
func slot(views []media.View) (f *media.Frame, intact func() bool) {
	const guard, mark = 256, 0xa5
	f = media.NewFrame(nil)
	var all [][]byte
	for _, v := range views {
		b := bytes.Repeat([]byte{mark}, guard+v.Size()+guard)
		all = append(all, b)
		f.Views = append(f.Views, media.Picture{Pix: b[guard : guard+v.Size() : guard+v.Size()]})
	}
	return f, func() bool {
		for _, b := range all {
			rest := append(bytes.Clone(b[:guard]), b[len(b)-guard:]...)
			if !bytes.Equal(rest, bytes.Repeat([]byte{mark}, 2*guard)) {
				return false
			}
		}
		return true
	}
}

func TestScalingWritesTheRectangleAndNothingElse(t *testing.T) {
	setup()
	src := picture(t, astiav.PixelFormatYuv420P, 98, 66, noise(98*66*3/2))
	odd := picture(t, astiav.PixelFormatYuv420P, 33, 57, noise(33*57+2*17*29))
	for _, src := range []*astiav.Frame{src, odd} {
		for side := 1; side <= 140; side++ {
			for _, v := range []media.View{
				{Width: side, Height: 71, Fill: 114},
				{Width: 71, Height: side, Fill: 114, Format: media.RGB24},
				{Width: side, Height: side, Fit: media.Stretch},
				{Width: 416, Height: side, Fill: 114},
			} {
				for _, rotation := range []int{0, 90, 180, 270} {
					check(t, src, v, rotation)
				}
			}
		}
	}
}

// check scales twice into one slot and looks at everything outside the rectangle.
func check(t *testing.T, src *astiav.Frame, v media.View, rotation int) {
	t.Helper()
	s := newScaler([]media.View{v})
	defer s.free()
	f, intact := slot([]media.View{v})
	f.Width, f.Height = src.Width(), src.Height()
	if rotation%180 == 90 {
		f.Width, f.Height = f.Height, f.Width
	}
	for range 2 {
		if err := s.scale(src, rotation, f); err != nil {
			t.Fatalf("view %+v: %v", v, err)
		}
	}
	g := f.Views[0].Geometry
	border := true
	for y := range v.Height {
		for x := range v.Width {
			if x < g.X || y < g.Y || x >= g.X+g.W || y >= g.Y+g.H {
				p := f.Views[0].Pix[(y*v.Width+x)*3:]
				border = border && p[0] == v.Fill && p[1] == v.Fill && p[2] == v.Fill
			}
		}
	}
	if !border || !intact() {
		t.Errorf("view %+v rotated by %d: border %v, memory around it %v", v, rotation, border, intact())
	}
}

// TestRotationIsClockwise turns a picture with a mark in its top left corner.
func TestRotationIsClockwise(t *testing.T) {
	const w, h = 64, 32
	pix := make([]byte, w*h*3)
	for y := range 8 {
		for x := range 8 {
			pix[(y*w+x)*3] = 255 // red
		}
	}
	src := picture(t, astiav.PixelFormatRgb24, w, h, pix)
	for rotation, corner := range map[int][2]int{0: {4, 4}, 90: {h - 4, 4}, 180: {w - 4, h - 4}, 270: {4, w - 4}} {
		v := media.View{Width: w, Height: h, Format: media.RGB24}
		if rotation%180 == 90 {
			v.Width, v.Height = h, w
		}
		s := newScaler([]media.View{v})
		f, _ := slot([]media.View{v})
		f.Width, f.Height = v.Width, v.Height
		if err := s.scale(src, rotation, f); err != nil {
			t.Fatal(err)
		}
		s.free()
		red := 0
		for i := 0; i < len(f.Views[0].Pix); i += 3 {
			if f.Views[0].Pix[i] > 128 {
				red++
			}
		}
		at := (corner[1]*v.Width + corner[0]) * 3
		if red != 64 || f.Views[0].Pix[at] < 250 {
			t.Errorf("%d°: %d red pixels, %d at %v", rotation, red, f.Views[0].Pix[at], corner)
		}
	}
}

func TestColourMatrixAndRange(t *testing.T) {
	// Pure BT.601 and BT.709 red, in limited and full range.
	red := func(y, u, v byte) []byte {
		b := bytes.Repeat([]byte{y}, 64*64)
		b = append(b, bytes.Repeat([]byte{u}, 32*32)...)
		return append(b, bytes.Repeat([]byte{v}, 32*32)...)
	}
	for name, c := range map[string]struct {
		yuv   []byte
		space astiav.ColorSpace
		rng   astiav.ColorRange
	}{
		"601 limited":           {red(81, 90, 240), astiav.ColorSpaceSmpte170M, astiav.ColorRangeMpeg},
		"709 limited":           {red(63, 102, 240), astiav.ColorSpaceBt709, astiav.ColorRangeMpeg},
		"601 full":              {red(76, 85, 255), astiav.ColorSpaceBt470Bg, astiav.ColorRangeJpeg},
		"small and unspecified": {red(81, 90, 240), astiav.ColorSpaceUnspecified, astiav.ColorRangeUnspecified},
	} {
		src := picture(t, astiav.PixelFormatYuv420P, 64, 64, c.yuv)
		src.SetColorSpace(c.space)
		src.SetColorRange(c.rng)
		v := media.View{Width: 32, Height: 32, Format: media.RGB24}
		s := newScaler([]media.View{v})
		f, _ := slot([]media.View{v})
		f.Width, f.Height = 64, 64
		if err := s.scale(src, 0, f); err != nil {
			t.Fatal(err)
		}
		s.free()
		if p := f.Views[0].Pix[:3]; p[0] < 250 || p[1] > 5 || p[2] > 5 {
			t.Errorf("%s: red is %v", name, p)
		}
	}
}

func BenchmarkScale(b *testing.B) {
	for name, v := range map[string]media.View{
		"768x576 to 416": {Width: 416, Height: 416, Fill: 114},
		"to RGB":         {Width: 416, Height: 416, Fill: 114, Format: media.RGB24},
	} {
		b.Run(name, func(b *testing.B) {
			src := picture(b, astiav.PixelFormatYuv420P, 768, 576, noise(768*576*3/2))
			s := newScaler([]media.View{v})
			defer s.free()
			f, _ := slot([]media.View{v})
			f.Width, f.Height = 768, 576
			b.ReportAllocs()
			for b.Loop() {
				if err := s.scale(src, 0, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
