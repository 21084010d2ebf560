package infer

import "time"

// Detection is one object found in a frame.
type Detection struct {
	Class      int     // index into Model.Labels
	Confidence float32 // 0..1
	Box        Box     // in source pixels
	Track      int64   // number of the followed object, 0: none
}

// Box is a rectangle: top left corner, width and height, in pixels (COCO's order).
type Box struct{ X, Y, W, H float32 }

// Detect is a session's choice of what counts as a detection.
type Detect struct {
	Threshold float32      // lowest confidence, 0..1
	Asked     bool         // the session asked for Threshold: it holds for classes that have one of their own, too
	Faint     float32      // what has so much confidence is found too, below any threshold; 0: it is not
	IoU       float32      // boxes of a class that overlap more than this are one object, 0..1
	Classes   map[int]bool // nil: all
}

// Least is the lowest confidence that counts for a class of a model.
func (d *Detect) Least(m *Model, class int) float32 {
	if d.Asked || class < 0 || class >= len(m.Thresholds) {
		return d.Threshold
	}
	return m.Thresholds[class]
}

// The defaults of Detect.
const (
	DefaultThreshold = 0.45
	DefaultIoU       = 0.5
)

// Result is what became of one taken frame.
type Result struct {
	// Detections is valid during Done only, highest confidence first.
	Detections []Detection
	// Err is set if the frame could not be inferred.
	Err      error
	Model    *Model
	Identity Identity
	Batch    int       // images in the run
	Bound    time.Time // taken into the batch
	Finished time.Time // engine and post-processing done
}
