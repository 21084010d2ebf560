package media

import "fmt"

// PixelFormat is the order of the three bytes of a pixel.
type PixelFormat uint8

// The pixel formats a view can have.
const (
	BGR24 PixelFormat = iota
	RGB24
)

// Fit is how a picture is brought to the size of a view.
type Fit uint8

// The ways to fit.
const (
	// Letterbox keeps the aspect ratio and centres the picture; the border is View.Fill.
	Letterbox Fit = iota
	// Stretch fills the view.
	Stretch
	// Corner is Letterbox with the picture in the top left corner.
	Corner
)

// View says what a decoder delivers of each picked frame.
type View struct {
	Width, Height int
	Format        PixelFormat
	Fit           Fit
	// Fill is the value of all three channels of the border.
	Fill byte
}

// MaxViewSide bounds the width and height of a view, in pixels.
const MaxViewSide = 4096

// Validate says what is wrong with a view.
func (v View) Validate() error {
	if v.Width < 1 || v.Height < 1 || v.Width > MaxViewSide || v.Height > MaxViewSide {
		return fmt.Errorf("view of %d×%d pixels: each side must be 1 to %d", v.Width, v.Height, MaxViewSide)
	}
	if v.Format > RGB24 || v.Fit > Corner {
		return fmt.Errorf("view with unknown pixel format %d or fit %d", v.Format, v.Fit)
	}
	return nil
}

// Size is the number of bytes of the view's pixels.
func (v View) Size() int { return v.Width * v.Height * 3 }

// Geometry places a source picture inside a view: the source's full area covers
// the rectangle (X, Y, W, H) of the view, in view pixels.
type Geometry struct {
	SourceW, SourceH int
	X, Y, W, H       int
}

// Place computes where a source picture lies inside the view.
//
// For Letterbox the scale is r = min(W/w, H/h); the sides are rounded half up and
// the margins are halved downwards, as NanoDet and the YOLO family do it. For
// Corner there is no margin on the left and above, as YOLOX does it.
func (v View) Place(w, h int) Geometry { return v.PlaceShown(w, h, 1) }

// MaxAspect bounds FrameInfo.Aspect, and 1/MaxAspect.
const MaxAspect = 8

// PlaceShown is Place for pictures whose pixels are not square. The rectangle has
// the aspect in which the picture is shown; the source's pixels stay what they are.
func (v View) PlaceShown(w, h int, aspect float32) Geometry {
	g := Geometry{SourceW: w, SourceH: h, W: v.Width, H: v.Height}
	if v.Fit == Stretch {
		return g
	}
	shown := float64(w)
	if aspect > 0 {
		shown *= float64(aspect)
	}
	r := min(float64(v.Width)/shown, float64(v.Height)/float64(h))
	g.W = max(1, min(v.Width, int(shown*r+0.5)))
	g.H = max(1, min(v.Height, int(float64(h)*r+0.5)))
	if v.Fit == Letterbox {
		g.X, g.Y = (v.Width-g.W)/2, (v.Height-g.H)/2
	}
	return g
}

// ToSource converts a point from view pixels to source pixels, clipped to the source.
func (g Geometry) ToSource(x, y float32) (float32, float32) {
	x = (x - float32(g.X)) * float32(g.SourceW) / float32(g.W)
	y = (y - float32(g.Y)) * float32(g.SourceH) / float32(g.H)
	return min(max(x, 0), float32(g.SourceW)), min(max(y, 0), float32(g.SourceH))
}
