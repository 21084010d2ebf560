package main_test

import (
	"path/filepath"
	"strings"
	"testing"

	"detections/infer/infertest"
)

// hungryCats writes version n of the cats, which needs so many bytes for one value that
// depends on the picture.
func hungryCats(t *testing.T, dir string, n int, bytes int64) string {
	t.Helper()
	g := catsGraph(n)
	var nodes []infertest.Node
	for _, node := range g.Nodes {
		if node.Out[0] == "none" { // [N] of zeros: the mean of the picture times 0
			node.In[0] = "least"
			nodes = append(
				nodes,
				infertest.Node{Op: "Reshape", In: []string{"mean", "column"}, Out: []string{"one"}},
				infertest.Node{Op: "Expand", In: []string{"one", "many"}, Out: []string{"huge"}},
				infertest.Node{Op: "ReduceMin", In: []string{"huge"}, Out: []string{"least"}, Attrs: map[string]any{"axes": []int{1}, "keepdims": 0}},
			)
		}
		nodes = append(nodes, node)
	}
	g.Nodes = nodes
	g.Constants = append(
		g.Constants,
		infertest.Constant{Name: "column", Shape: []int64{2}, Ints: []int64{-1, 1}},
		infertest.Constant{Name: "many", Shape: []int64{2}, Ints: []int64{1, bytes / 4}},
	)
	return writeCats(t, dir, n, g)
}

// A model that needs more memory than it may have ends the process that tries it, with
// what was expected and found; the same model works where there is enough. So does one
// that only claims to have so much, and the hub goes on.
func TestE2EAModelThatNeedsTooMuchMemoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, hungryCats(t, dir, 1, 600<<20))
	build := []string{"model", "build", "--child", "--data", t.TempDir(), "--providers", "cpu", "--model", model}
	cli(t, build...).check(t, "enough", 0, "cpu       ready")
	cli(t, append(build, "--memory", "402653184")...).check(t, "too little", 1, "it needs more memory than there is", "629145600 bytes for one value")

	hungry := t.TempDir()
	catsVersion(t, hungry, 0)
	p := serve(t, "--model", filepath.Join(hungry, "v0.onnx"), "--model-poll", "0")
	p.awaitHealth("the first version", func(h health) bool { return h.Model == "cats@0" })
	claims := catsGraph(3) // weights that are not there
	values := &claims.Constants[len(claims.Constants)-1]
	values.Shape = []int64{1, 300_000_000, 84}
	for name, wants := range map[string][]string{
		hungryCats(t, hungry, 2, 1<<50): {"it needs more memory than there is: expected at most ", "iB for each engine, found 1.0 PiB for one value"},
		writeCats(t, hungry, 3, claims): {"ONNX Runtime does not load it", values.Name, "declares a size of 100800000000 bytes"},
	} {
		h := p.model("POST", "/v1/model", `{"file":"`+name+`"}`)
		for _, want := range append(wants, "what served goes on") {
			if h.Code != "bad_model" || !strings.Contains(h.Detail, want) {
				t.Errorf("%s: %+v, want %q", name, h, want)
			}
		}
		if h := p.model("GET", "/health", ""); h.AIAvailability != "ENABLED" || h.Model != "cats@0" || h.Update == nil || !strings.Contains(h.Update.Reason, wants[0]) {
			t.Errorf("then %+v, update %+v", h, h.Update)
		}
	}
	all := p.curl("-F", "file=@"+media(t, "frame.jpg"), p.url+"/detect")
	if len(all) != 1 {
		t.Errorf("a picture: %+v", all)
	}
}
