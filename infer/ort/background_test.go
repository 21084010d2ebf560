//go:build cgo

package ort

import (
	"slices"
	"testing"

	"detections/infer"
)

func TestWhatIsDoneInTheBackgroundGivesWay(t *testing.T) {
	here := priorityHere()
	there := -1
	if err := inBack(func() error {
		there = priorityHere()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := min(19, here+priority); there != want || priorityHere() != here {
		t.Errorf("priority %d in the background, want %d; then %d here, want %d", there, want, priorityHere(), here)
	}
}

// An engine that was loaded in the background gives what any other gives.
func TestAnEngineFromTheBackgroundIsTheSame(t *testing.T) {
	model, m := must(nanodet()), must(described())
	if described := must(DescribeInBackground(model, nil)); described.SHA256 != m.SHA256 || described.Input != m.Input {
		t.Errorf("described as %+v", described)
	}
	var found [2][]float32
	for i, background := range []bool{false, true} {
		e, err := Open(model, m, Options{Providers: []string{"cpu"}, MaxBatch: 2, Background: background})
		if err != nil {
			t.Fatal(err)
		}
		infer.NewNormalizer(m.Input).Convert(e.Input(0), make([]byte, m.Input.Size()))
		if err := e.Run(1); err != nil {
			t.Fatal(err)
		}
		found[i] = slices.Clone(e.Output(0, 0))
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(found[0], found[1]) {
		t.Error("other outputs")
	}
}
