package infer_test

import (
	"slices"
	"strings"
	"testing"

	"detections/infer"
)

func TestClassesAreStrict(t *testing.T) {
	for text, want := range map[string]string{
		``:                                                 `expected a list of classes such as [{"id": 0, "name": "person"}], found nothing`,
		`{"0": "person"}`:                                  `expected a list of classes such as [{"id": 0, "name": "person"}], found "{\"0\":"`,
		`[]`:                                               "expected at least one class, found none",
		"[\n{\"id\": 0, \"name\": a}]":                     "line 2 is not JSON",
		`[{"id": 0, "name": "a"}`:                          "found the end of the file",
		`[{"id": 0, "name": "a"}] []`:                      "expected one list, found more after byte",
		`["person"]`:                                       "class 1 of the list: expected an object, found person",
		`[{"name": "a"}]`:                                  "class 1 of the list: expected an id, found none",
		`[{"id": "0", "name": "a"}]`:                       "class 1 of the list: id: expected a whole number, found string",
		`[{"id": 0.5, "name": "a"}]`:                       "id: expected a whole number, found number 0.5",
		`[{"id": -1, "name": "a"}]`:                        "id: expected 0 to 65535, found -1",
		`[{"id": 0}]`:                                      `name of class 0: expected 1 to 100 bytes without blanks around them, found ""`,
		`[{"id": 0, "name": " a"}]`:                        `found " a"`,
		`[{"id": 0, "name": 7}]`:                           "name: expected text, found number",
		`[{"id": 0, "nam": "a"}]`:                          `expected id, name, color or threshold, found "nam"`,
		`[{"id": 0, "id": 1}]`:                             `expected "id" once, found it again`,
		`[{"id": 0, "name": "a", "color": "red"}]`:         `color of class 0: expected one such as #ff8800, found "red"`,
		`[{"id": 0, "name": "a", "threshold": 40}]`:        "threshold of class 0: expected 0.01 to 1, found 40",
		`[{"id": 0, "name": "a", "threshold": 0}]`:         "threshold of class 0: expected 0.01 to 1, found 0",
		`[{"id": 0, "name": "a", "threshold": "high"}]`:    "threshold: expected a number, found string",
		`[{"id": 0, "name": "a"}, {"id": 0, "name": "b"}]`: "class 2 of the list: expected each id once, found 0 again",
		`[{"id": 0, "name": "a"}, {"id": 1, "name": "a"}]`: `class 2 of the list: expected each name once, found "a" for 0 and for 1`,
		`[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]`: "expected the ids 0 to 1 of 2 classes, found 2 and no 0",
		strings.Repeat(" ", infer.MaxDescription+1):        "expected at most 1048576 bytes",
	} {
		if _, err := infer.ParseClasses([]byte(text), "classes.json"); err == nil || !strings.HasPrefix(err.Error(), "classes.json: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: err = %v, want %q", text, err, want)
		}
	}
}

func classes(t *testing.T, text string) *infer.ClassList {
	t.Helper()
	c, err := infer.ParseClasses([]byte(text), "/models/classes.json")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const catsAndDogs = `[{"id": 1, "name": "dog", "threshold": 0.7}, {"id": 0, "name": "cat", "color": "#FF8800"}]`

func TestClassesNameTheModelsOutputs(t *testing.T) {
	d := &infer.Description{Classes: classes(t, catsAndDogs)}
	// A list that does not tell how many classes there are needs the names.
	for _, f := range []*infer.Facts{facts(640, "", 300, 6), facts(640, "cat,dog", 6, 8400)} {
		m, err := infer.Describe(f, d)
		if err != nil {
			t.Fatal(err)
		}
		want := []infer.ClassInfo{{ID: 0, Name: "cat", Color: "#FF8800", Threshold: infer.DefaultThreshold}, {ID: 1, Name: "dog", Threshold: 0.7}}
		if got := m.ClassInfo(); !slices.Equal(got, want) {
			t.Errorf("got %+v", got)
		}
	}
}

func TestClassesThatAreNotTheModelsAreRefused(t *testing.T) {
	d := &infer.Description{Classes: classes(t, catsAndDogs)}
	for want, f := range map[string]*infer.Facts{
		`classes.json calls class 1 "dog", and the model calls it "cow"`:            facts(640, "cat,cow", 6, 8400),
		`classes.json lists 2 classes, and the model has 3`:                         facts(640, "cat,dog,cow", 7, 8400),
		`output output0 float32 [N,7,8400] has 3 classes, but classes.json names 2`: facts(640, "", 7, 8400),
		`output output0 float32 [N,7,8400] has 3 classes, but the metadata names 2`: facts(640, "cat,dog", 7, 8400),
	} {
		if _, err := infer.Describe(f, d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}

// Only what changes results changes the identity.
func TestClassesThatChangeResultsShowInTheIdentity(t *testing.T) {
	of := func(names, text string) string {
		t.Helper()
		d := &infer.Description{}
		if text != "" {
			d.Classes = classes(t, text)
		}
		m, err := infer.Describe(facts(640, names, 6, 8400), d)
		if err != nil {
			t.Fatal(err)
		}
		return m.Description
	}
	const named, plain = "cat,dog", `[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]`
	if got := of(named, plain) + of(named, `[{"id": 1, "name": "dog", "color": "#000000"}, {"id": 0, "name": "cat"}]`); got != "" {
		t.Errorf("names that are known and colours give %q", got)
	}
	seen := []string{
		of("", plain), of("", `[{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}]`),
		of(named, catsAndDogs), of(named, strings.Replace(catsAndDogs, "0.7", "0.6", 1)),
	}
	for i, s := range seen {
		if len(s) != 12 || slices.Index(seen, s) != i {
			t.Errorf("identities %q", seen)
		}
	}
}

func TestAClassHasItsOwnThresholdUnlessTheSessionAsksForOne(t *testing.T) {
	e := crowded(0, 80)
	const anchors = 8400
	for k, v := range []float32{0.3, 0.5, 0.65, 0.8} { // of class 0 and of class 1
		a := 100 * k
		for c, box := range []float32{float32(60 + 120*k), 100, 50, 50} {
			e.out[0][c*anchors+a] = box
		}
		e.out[0][4*anchors+a], e.out[0][5*anchors+a] = v, 0.09
		for c, box := range []float32{float32(60 + 120*k), 400, 50, 50} {
			e.out[0][c*anchors+a+1] = box
		}
		e.out[0][4*anchors+a+1], e.out[0][5*anchors+a+1] = 0.09, v
	}
	e.model.Thresholds = slices.Repeat([]float32{infer.DefaultThreshold}, 80)
	e.model.Thresholds[0], e.model.Thresholds[1] = 0.2, 0.7
	var post infer.Postprocessor
	count := func(d *infer.Detect) (n [2]int) {
		for _, o := range post.Detect(e, 0, d, whole) {
			n[o.Class]++
		}
		return n
	}
	for want, d := range map[[2]int]*infer.Detect{
		{4, 1}: nil,
		{3, 3}: {Threshold: 0.45, Asked: true, IoU: 0.5},
		{2, 2}: {Threshold: 0.6, Asked: true, IoU: 0.5},
		{0, 1}: {Threshold: 0.45, IoU: 0.5, Classes: map[int]bool{1: true}},
	} {
		if got := count(d); got != want {
			t.Errorf("%+v: found %v, want %v", d, got, want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { post.Detect(e, 0, nil, whole) }); n != 0 {
		t.Errorf("%v allocations for a picture", n)
	}
}
