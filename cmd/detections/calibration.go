package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// layout is how many engines of how many threads each the processors are shared among.
type layout struct {
	Engines int `json:"engines"`
	Threads int `json:"threads"`
}

// layouts are worth trying with so many cores: engines of 1, 2, 4, … threads that use
// all of them.
func layouts(cores int) (all []layout) {
	for threads := 1; threads < 2*cores; threads *= 2 {
		threads = min(threads, cores)
		all = append(all, layout{Engines: cores / threads, Threads: threads})
	}
	return all
}

// calibration is what was found out about a model on this machine.
type calibration struct {
	layout
	Rate     float64   `json:"images_per_second"`
	Measured time.Time `json:"measured"`
}

// calibrations are those of all models, in a file of the data directory. The key names
// what they hold for; on another machine they do not.
type calibrations map[string]calibration

func calibrationKey(model string, cores int) string { return fmt.Sprintf("%s/cpu/%d", model, cores) }

func calibrationPath(data string) string { return filepath.Join(data, "calibration.json") }

// readCalibrations reads the file; if there is none, there are none.
func readCalibrations(data string) (calibrations, error) {
	text, err := os.ReadFile(calibrationPath(data))
	if errors.Is(err, fs.ErrNotExist) {
		return calibrations{}, nil
	}
	if err != nil {
		return nil, err
	}
	all := calibrations{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w; detections model calibrate makes it anew", calibrationPath(data), err)
	}
	return all, nil
}

// write replaces the file at once, so that nobody reads half of it.
func (all calibrations) write(data string) error {
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	next := calibrationPath(data) + ".new"
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, calibrationPath(data))
}

// layout is what was chosen, or else what was found out, or else one engine of one
// thread for every core, which was the best on every machine so far.
func (s *settings) layout(model string, cores int) (layout, error) {
	l := layout{Engines: max(1, cores/max(1, s.threads)), Threads: max(1, s.threads)}
	if s.engines > 0 {
		l.Engines = s.engines
	}
	if s.engines > 0 || s.threads > 0 {
		return l, nil
	}
	all, err := readCalibrations(s.data)
	if c, ok := all[calibrationKey(model, cores)]; ok && c.Engines > 0 && c.Threads > 0 && c.Engines*c.Threads <= 2*cores {
		l = c.layout
	}
	return l, err
}
