//go:build cgo

package ort

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"detections/infer"
)

func TestWhatIsDoneInTheBackgroundGivesWay(t *testing.T) {
	here := priorityHere()
	for _, c := range []struct {
		priority     Priority
		nice, policy int
	}{{Normal, here, unix.SCHED_NORMAL}, {Low, min(19, here+lower), unix.SCHED_NORMAL}, {Spare, here, unix.SCHED_IDLE}} {
		nice, policy := -1, -1
		if err := c.priority.how()(func() error {
			a, err := unix.SchedGetAttr(0, 0)
			nice, policy = priorityHere(), int(a.Policy)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if nice != c.nice || policy != c.policy {
			t.Errorf("priority %d: nice %d of policy %d, want %d of %d", c.priority, nice, policy, c.nice, c.policy)
		}
	}
	if a, err := unix.SchedGetAttr(0, 0); err != nil || a.Policy != unix.SCHED_NORMAL || priorityHere() != here {
		t.Errorf("then nice %d of policy %v here, %v", priorityHere(), a, err)
	}
}

// An engine that was loaded in the background gives what any other gives.
func TestAnEngineFromTheBackgroundIsTheSame(t *testing.T) {
	model, m := must(nanodet()), must(described())
	if described := must(DescribeWith(Spare, model, nil)); described.SHA256 != m.SHA256 || described.Input != m.Input {
		t.Errorf("described as %+v", described)
	}
	var found [3][]float32
	for i := range found {
		e, err := Open(model, m, Options{Providers: []string{"cpu"}, MaxBatch: 2, Priority: Priority(i)})
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
	if !slices.Equal(found[0], found[1]) || !slices.Equal(found[0], found[2]) {
		t.Error("other outputs")
	}
}
