package av

/*
#include "shim.h"
*/
import "C"

import (
	"bytes"
	"fmt"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// scaler brings pictures into the views of a slot. One FFmpeg context per view, so
// that none is rebuilt from picture to picture.
type scaler struct {
	views []media.View
	c     []*C.det_scaler
	// filled remembers the geometry for which a slot's borders were painted last.
	filled map[*media.Frame][]media.Geometry
}

func newScaler(views []media.View) *scaler {
	s := &scaler{views: views, filled: make(map[*media.Frame][]media.Geometry)}
	for range views {
		s.c = append(s.c, C.det_scaler_new())
	}
	return s
}

func (s *scaler) free() {
	for _, c := range s.c {
		C.det_scaler_free(c)
	}
}

// scale writes the picture into all views of the slot, borders included.
func (s *scaler) scale(src *astiav.Frame, turn int, dst *media.Frame) error {
	filled := s.filled[dst]
	if filled == nil {
		filled = make([]media.Geometry, len(s.views))
		s.filled[dst] = filled
	}
	for i, v := range s.views {
		p := &dst.Views[i]
		p.Geometry = v.PlaceShown(dst.Width, dst.Height, dst.Aspect)
		g := p.Geometry
		if filled[i] != g {
			filled[i] = g
			paintBorder(v, g, p.Pix)
		}
		stride := v.Width * 3
		at := p.Pix[g.Y*stride+g.X*3:]
		_ = at[(g.H-1)*stride+g.W*3-1] // the rectangle lies within the view
		e := C.det_scale(s.c[i], (*C.AVFrame)(src.UnsafePointer()), C.int(turn), boolInt(v.Format == media.RGB24),
			(*C.uint8_t)(&at[0]), C.int(stride), C.int(g.W), C.int(g.H))
		if e < 0 {
			return fmt.Errorf("scale %s %d×%d to %d×%d: %w", src.PixelFormat(), src.Width(), src.Height(), g.W, g.H, astiav.Error(e))
		}
	}
	return nil
}

// paintBorder fills what of a view lies outside the picture's rectangle.
func paintBorder(v media.View, g media.Geometry, pix []byte) {
	stride := v.Width * 3
	fill(pix[:g.Y*stride], v.Fill)
	fill(pix[(g.Y+g.H)*stride:], v.Fill)
	for y := g.Y; y < g.Y+g.H; y++ {
		row := pix[y*stride : (y+1)*stride]
		fill(row[:g.X*3], v.Fill)
		fill(row[(g.X+g.W)*3:], v.Fill)
	}
}

func fill(b []byte, v byte) { copy(b, bytes.Repeat([]byte{v}, len(b))) }
