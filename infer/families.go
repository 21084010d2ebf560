package infer

import (
	"fmt"
	"strings"

	"detections/media"
)

// family is a kind of networks that share how pixels go in and boxes come out.
type family struct {
	name, about string
	pixels      pixels
	single      bool // each object once: no NMS
	// roles are the outputs that are read, by the names that the family gives them;
	// several spellings are separated by |. One role: the only output of three dimensions.
	roles []string
	build func(*builder) (Head, error)
}

// pixels are how a family wants its pictures, if nobody says otherwise.
type pixels struct {
	format    media.PixelFormat
	fit       media.Fit
	fill      byte
	mean, std [3]float32
}

func same(v float32) [3]float32 { return [3]float32{v, v, v} }

var (
	yoloPixels    = pixels{media.RGB24, media.Letterbox, 114, same(0), same(255)}
	nanodetPixels = pixels{media.BGR24, media.Letterbox, 0, [3]float32{103.53, 116.28, 123.675}, [3]float32{57.375, 57.12, 58.395}}
	detrPixels    = pixels{media.RGB24, media.Stretch, 0, same(0), same(255)}
	rfPixels      = pixels{media.RGB24, media.Stretch, 0, [3]float32{123.675, 116.28, 103.53}, [3]float32{58.395, 57.12, 57.375}}
	halfPixels    = pixels{media.RGB24, media.Stretch, 0, same(127.5), same(127.5)}
)

var families = []*family{
	{"nanodet", "scores [N,A,C] and boxes [N,A,4], decoded", nanodetPixels, false, []string{"scores", "boxes"}, (*builder).scored},
	{"nanodet-gfl", "[N,A,C+4·bins], not decoded", nanodetPixels, false, []string{"output"}, (*builder).gfl},
	{"yolov5", "[N,A,5+C] with objectness; YOLOv7 too", yoloPixels, false, []string{"output"}, (*builder).dense},
	{"yolov8", "[N,4+C,A]; YOLOv9 and YOLO11 too", yoloPixels, false, []string{"output"}, (*builder).dense},
	{"yolov10", "[N,K,6], without NMS; YOLO26 too", yoloPixels, true, []string{"output"}, (*builder).listed},
	{"yolox", "[N,A,5+C], relative to a grid", pixels{media.BGR24, media.Corner, 114, same(0), same(1)}, false, []string{"output"}, (*builder).dense},
	{"rt-detr", "logits [N,Q,C] and boxes [N,Q,4]; D-FINE too", detrPixels, true, []string{"logits|pred_logits", "pred_boxes|boxes"}, (*builder).scored},
	{"rt-detr-rows", "[N,Q,4+C], as Ultralytics exports RT-DETR", detrPixels, true, []string{"output"}, (*builder).dense},
	{"rf-detr", "labels [N,Q,C] and dets [N,Q,4]", rfPixels, true, []string{"labels", "dets"}, (*builder).scored},
	{"ssd", "boxes, classes, scores and how many, of TensorFlow", halfPixels, true, []string{"detection_boxes|boxes", "detection_classes|classes|labels", "detection_scores|scores", "num_detections|count"}, (*builder).listed},
	{"centernet", "[N,K,6], in pixels of the heat map", pixels{media.BGR24, media.Letterbox, 0, [3]float32{104.04, 113.985, 119.85}, [3]float32{73.695, 69.87, 70.89}}, true, []string{"output"}, (*builder).listed},
	{"mediapipe", "scores [N,A,C] and boxes [N,A,4…], relative to anchors", pixels{media.RGB24, media.Letterbox, 0, same(127.5), same(127.5)}, false, []string{"classificators|scores", "regressors|boxes"}, (*builder).scored},
}

// Families lists the names of the heads and what they read.
func Families() [][2]string {
	all := make([][2]string, len(families))
	for i, f := range families {
		all[i] = [2]string{f.name, f.about}
	}
	return all
}

func familyNames() []string {
	var all []string
	for _, f := range families {
		all = append(all, f.name)
	}
	return all
}

func familyOf(name string) *family {
	for _, f := range families {
		if f.name == name {
			return f
		}
	}
	return nil
}

// recognise finds the family of the model, and the outputs that it reads.
func (b *builder) recognise() (*family, []Tensor, error) {
	if b.d.Head != "" {
		f := familyOf(b.d.Head)
		if f == nil {
			return nil, nil, fmt.Errorf("there is no head %q; expected one of:%s", b.d.Head, familyList())
		}
		outputs, err := b.take(f)
		return f, outputs, err
	}
	if b.d.Output.Names == nil {
		for _, f := range families {
			if outputs := b.named(f); len(f.roles) > 1 && outputs != nil {
				return f, outputs, nil
			}
		}
	}
	t, err := b.only()
	if err != nil {
		return nil, nil, fmt.Errorf("no head reads these outputs: %w; expected one of:%s\nor \"head\" and output.names in the description", err, familyList())
	}
	if f := familyOf(b.guess(t)); f != nil {
		return f, []Tensor{t}, nil
	}
	return nil, nil, fmt.Errorf("no head reads output %s of a picture of %d×%d; expected one of:%s\nor \"head\" in the description", t, b.in.Width, b.in.Height, familyList())
}

func familyList() string {
	var s strings.Builder
	for _, f := range families {
		fmt.Fprintf(&s, "\n  %-12s %s", f.name, f.about)
	}
	return s.String()
}

// take finds the outputs of a family that the description names.
func (b *builder) take(f *family) ([]Tensor, error) {
	if names := b.d.Output.Names; names != nil {
		outputs := b.facts.outputs(names...)
		most := len(f.roles)
		least := most
		if f.name == "ssd" {
			least-- // without a count
		}
		if outputs == nil || len(names) > most || len(names) < least {
			return nil, fmt.Errorf("%s reads %d outputs (%s), the description names %q", f.name, most, strings.Join(f.roles, ", "), names)
		}
		return outputs, nil
	}
	if len(f.roles) == 1 {
		t, err := b.only()
		return []Tensor{t}, err
	}
	if outputs := b.named(f); outputs != nil {
		return outputs, nil
	}
	return nil, fmt.Errorf("%s: expected outputs named %s, or output.names in the description in this order", f.name, strings.Join(f.roles, ", "))
}

// named finds the outputs of a family by the names of their roles.
func (b *builder) named(f *family) []Tensor {
	var outputs []Tensor
	for i, role := range f.roles {
		n := len(outputs)
		for spelling := range strings.SplitSeq(role, "|") {
			// Labels may be scores of all classes, or one number for each box.
			if t, ok := b.facts.Output(spelling); ok && (len(f.roles) != 2 || len(t.Shape) == 3) {
				outputs = append(outputs, t)
				break
			}
		}
		if len(outputs) == n && (f.name != "ssd" || i != 3) {
			return nil
		}
	}
	return outputs
}

// only is the one output that has the shape of a head with one output.
func (b *builder) only() (Tensor, error) {
	all := b.facts.ofRank(3)
	if names := b.d.Output.Names; names != nil {
		if all = b.facts.outputs(names...); len(all) == 1 && len(all[0].Shape) != 3 {
			return Tensor{}, fmt.Errorf("output %s has not three dimensions", all[0])
		}
	}
	if len(all) != 1 {
		return Tensor{}, fmt.Errorf("%d outputs of three dimensions", len(all))
	}
	return all[0], nil
}

// mostListed bounds the rows of what is taken for a list of detections.
const mostListed = 1000

// guess is the family of a single output, by its shape; empty: none.
func (b *builder) guess(t Tensor) string {
	rows, columns := int(t.Shape[1]), int(t.Shape[2])
	labels, _ := b.names() // that they cannot be read is said later
	classes := len(labels)
	switch {
	case b.levels(columns, 1) != nil && rows > 4:
		return "yolov8"
	case b.levels(rows, 3) != nil && columns > 5:
		return "yolov5"
	case b.levels(rows, 1) != nil && (classes > 0 && columns == classes+4*defaultBins || classes == 0 && (columns == 80+4*defaultBins || len(b.levels(rows, 1)) == 4)):
		return "nanodet-gfl"
	case b.levels(rows, 1) != nil && columns > 5 && (classes == 0 || columns == 5+classes):
		return "yolox"
	case columns == 6 && rows <= mostListed && b.called("centernet", "ctdet"):
		return "centernet"
	case columns == 6 && rows <= mostListed && (classes != 2 || !b.called("rtdetr", "rt-detr")):
		return "yolov10"
	case rows <= mostListed && classes > 0 && columns == 4+classes:
		return "rt-detr-rows"
	}
	return ""
}

// called says whether one of the names is part of what the model calls itself.
func (b *builder) called(names ...string) bool {
	all := []string{b.facts.Name, b.facts.Metadata["name"], b.facts.Metadata["description"], b.d.Name}
	for _, t := range b.facts.Outputs {
		all = append(all, t.Name)
	}
	text := strings.ToLower(strings.Join(all, " "))
	for _, n := range names {
		if strings.Contains(text, n) {
			return true
		}
	}
	return false
}

// levels are the strides whose cells, so many times each, are all the anchors; nil:
// there are none.
func (b *builder) levels(anchors, times int) []int {
	all := [][]int{{8, 16, 32}, {8, 16, 32, 64}, {4, 8, 16, 32}}
	if b.d.Output.Strides != nil {
		all = [][]int{b.d.Output.Strides}
	}
	for _, strides := range all {
		if n := cells(b.in.Width, b.in.Height, strides); n > 0 && n*times == anchors {
			return strides
		}
	}
	return nil
}

func cells(width, height int, strides []int) int {
	n := 0
	for _, s := range strides {
		n += ((width + s - 1) / s) * ((height + s - 1) / s)
	}
	return n
}
