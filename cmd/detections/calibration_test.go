package main

import (
	"fmt"
	"os"
	"testing"
)

func TestLayoutsUseAllCores(t *testing.T) {
	for cores, want := range map[int]string{1: "[{1 1}]", 2: "[{2 1} {1 2}]", 6: "[{6 1} {3 2} {1 4} {1 6}]", 8: "[{8 1} {4 2} {2 4} {1 8}]"} {
		if got := fmt.Sprint(layouts(cores)); got != want {
			t.Errorf("%d cores: %s, want %s", cores, got, want)
		}
	}
}

func TestCalibrationHoldsForItsModelAndMachine(t *testing.T) {
	s := &settings{data: t.TempDir()}
	known := calibrations{calibrationKey("abc", 8): {layout: layout{Engines: 4, Threads: 2}}}
	if err := known.write(s.data); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		model            string
		cores            int
		engines, threads int
		want             layout
	}{
		{"abc", 8, 0, 0, layout{4, 2}},
		{"abc", 4, 0, 0, layout{4, 1}},
		{"abd", 8, 0, 0, layout{8, 1}},
		{"abc", 8, 3, 0, layout{3, 1}},
		{"abc", 8, 0, 8, layout{1, 8}},
	} {
		s.engines, s.threads = c.engines, c.threads
		if got, err := s.layout(c.model, c.cores); got != c.want || err != nil {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
}

func TestDamagedCalibrationIsToldAndNotUsed(t *testing.T) {
	s := &settings{data: t.TempDir()}
	if err := os.WriteFile(calibrationPath(s.data), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.layout("abc", 2); got != (layout{2, 1}) || err == nil {
		t.Errorf("%+v, %v", got, err)
	}
}
