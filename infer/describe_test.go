package infer_test

import (
	"slices"
	"strings"
	"testing"

	"detections/infer"
	"detections/media"
)

func TestDescriptionsAreStrict(t *testing.T) {
	for text, want := range map[string]string{
		``:                                 "expected a JSON object, found the end of the file",
		"{\n\"head\": yolox}":              "line 2 is not JSON",
		`{"head": "yolox"} {}`:             "expected one JSON object, found more",
		`{"head": "yolo"}`:                 `head: expected one of nanodet, nanodet-gfl, yolov5`,
		`{"input": {"colour": "rgb"}}`:     `there is no setting "colour"; docs/models.md lists them`,
		`{"input": {"width": "640"}}`:      "input.width: expected int, found string",
		`{"input": {"width": 9999}}`:       "input.width: expected 0 to 4096, found 9999",
		`{"input": {"fit": "crop"}}`:       `input.fit: expected one of letterbox, stretch, corner, found "crop"`,
		`{"input": {"fill": 256}}`:         "input.fill: expected 0 to 255, found 256",
		`{"input": {"std": [1, 0, 1]}}`:    "input.std: expected",
		`{"labels": []}`:                   "labels: expected at least one, found none",
		`{"labels": ["a", ""]}`:            "found an empty one for class 1",
		`{"output": {"strides": [0]}}`:     "strides: expected 1 to 1024, found 0",
		`{"output": {"scores": "logits"}}`: `output.scores: expected one of probability, sigmoid, softmax, found "logits"`,
		`{"output": {"offset": 2}}`:        "output.offset: expected 0 to 1, found 2",
		`{"output": {"firstClass": -1}}`:   "output.firstClass: expected 0 to",
	} {
		if _, err := infer.ParseDescription([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err = %v, want %q", text, err, want)
		}
	}
}

// facts are those of a model with an input of a side and one output.
func facts(side int64, names string, shape ...int64) *infer.Facts {
	return &infer.Facts{
		Inputs:   []infer.Tensor{{Name: "images", Type: "float32", Shape: []int64{0, 3, side, side}}},
		Outputs:  []infer.Tensor{{Name: "output0", Type: "float32", Shape: append([]int64{0}, shape...)}},
		Metadata: map[string]string{"names": names},
	}
}

// The shapes of the models that their authors publish.
func TestPublishedShapesAreRecognised(t *testing.T) {
	coco := strings.TrimSuffix(strings.Repeat("x,", 80), ",")
	for want, f := range map[string]*infer.Facts{
		"yolov8":       facts(640, coco, 84, 8400),
		"yolov5":       facts(640, coco, 25200, 85),
		"yolov10":      facts(640, coco, 300, 6),
		"yolox":        facts(640, "", 8400, 85),
		"nanodet-gfl":  facts(320, "", 2125, 112),
		"rt-detr-rows": facts(640, coco, 300, 84),
	} {
		m, err := infer.Describe(f, nil)
		if err != nil || m.Family != want {
			t.Errorf("%s: got %+v, %v", want, m, err)
		}
	}
	for side, f := range map[string]*infer.Facts{ // other sizes and numbers of levels
		"yolov8 at 1280": facts(1280, coco, 84, 33600), "yolov5 at 416": facts(416, coco, 10647, 85),
		"yolov5 of four levels": facts(1280, coco, 102000, 85), "nanodet-gfl of three levels": facts(320, "", 2100, 112), "yolox at 416": facts(416, "", 3549, 85),
	} {
		if m, err := infer.Describe(f, nil); err != nil || !strings.HasPrefix(side, m.Family+" ") {
			t.Errorf("%s: got %+v, %v", side, m, err)
		}
	}
}

// Each family's way with pixels, and that the description wins.
func TestPixelsOfFamilies(t *testing.T) {
	m, err := infer.Describe(facts(640, "", 8400, 85), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := infer.Input{
		Name: "images", Width: 640, Height: 640, Format: media.BGR24, Fit: media.Corner, Fill: 114, Std: [3]float32{1, 1, 1},
	}
	if m.Input != want || m.Single || len(m.Labels) != 80 || m.Label(7) != "class 7" {
		t.Errorf("got %+v", m)
	}
	d, err := infer.ParseDescription([]byte(`{"name": "cats", "version": "7", "head": "yolox", "labels": ["cat"],
		"input": {"color": "rgb", "fit": "letterbox", "fill": 0, "mean": [1, 2, 3], "std": [4, 5, 6]}, "output": {"nms": false}}`))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = infer.Describe(facts(640, "", 8400, 6), d); err != nil {
		t.Fatal(err)
	}
	want.Format, want.Fit, want.Fill, want.Mean, want.Std = media.RGB24, media.Letterbox, 0, [3]float32{1, 2, 3}, [3]float32{4, 5, 6}
	if m.Input != want || !m.Single || m.Name != "cats" || m.Version != "7" || len(m.Description) != 12 || !slices.Equal(m.Labels, []string{"cat"}) {
		t.Errorf("got %+v", m)
	}
}

func TestAbsurdSizesAreRefused(t *testing.T) {
	for want, f := range map[string]*infer.Facts{
		"output output0 float32 [N,84,1099511627776]: expected 1 to 67108864 values for an image": facts(640, "", 84, 1<<40),
		"output output0 float32 [N,67108864,85]: expected 1 to 67108864 values":                   facts(640, "", 1<<26, 85),
		"width 5000, expected at most 4096":                                                       facts(5000, "", 84, 8400),
	} {
		if _, err := infer.Describe(f, &infer.Description{Head: "yolov8"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}
