package infer

import (
	"slices"

	"detections/media"
)

var defaultDetect = Detect{Threshold: DefaultThreshold, IoU: DefaultIoU}

// Postprocessor turns one image's outputs into detections. Its memory is used
// again; the zero value is ready for use by one goroutine.
type Postprocessor struct {
	candidates []Candidate
	nms        NMS
	detections []Detection
}

// Detect returns what the engine's last run found in image i: head, thresholds of
// the classes, class filter, NMS unless the network gives each object once, and boxes in
// the pixels of the source that lies at g. A nil d means the defaults. The result is valid until the next Detect.
func (p *Postprocessor) Detect(e Engine, i int, d *Detect, g media.Geometry) []Detection {
	if d == nil {
		d = &defaultDetect
	}
	m := e.Model()
	byClass, least := !d.Asked && m.Thresholds != nil, d.Threshold
	if byClass {
		least = slices.Min(m.Thresholds)
	}
	if d.Faint > 0 {
		least = min(least, d.Faint)
	}
	p.candidates = m.Head.Decode(e, i, least, p.candidates[:0])
	candidates := p.candidates
	if byClass || d.Classes != nil {
		candidates = candidates[:0]
		for _, c := range p.candidates {
			low := byClass && c.Score < d.Least(m, int(c.Class)) && (d.Faint == 0 || c.Score < d.Faint)
			if !low && (d.Classes == nil || d.Classes[int(c.Class)]) {
				candidates = append(candidates, c)
			}
		}
	}
	iou := d.IoU
	if m.Single {
		iou = 1 // nothing overlaps by more
	}
	p.detections = p.detections[:0]
	for _, c := range p.nms.Keep(candidates, m.Input, iou) {
		x1, y1 := g.ToSource(c.X1, c.Y1)
		x2, y2 := g.ToSource(c.X2, c.Y2)
		if x2 > x1 && y2 > y1 { // else it lies in the border of the letterbox
			p.detections = append(p.detections, Detection{
				Class: int(c.Class), Confidence: c.Score, Box: Box{X: x1, Y: y1, W: x2 - x1, H: y2 - y1},
			})
		}
	}
	return p.detections
}
