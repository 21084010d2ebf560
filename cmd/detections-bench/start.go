package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"detections/infer/loader"
)

// startTarget is how long the program may take until an engine serves, in ms.
const startTarget = 1500

// start measures from the start of the program until it serves, and until an engine
// does: with the embedded model, and with one of the same size from a file, which is tried
// in a process of its own first.
func (b *bench) start(ctx context.Context) error {
	file, err := b.otherModel()
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(file)) //nolint:errcheck // a temporary folder
	var serves, embedded, other sample
	for range b.reps {
		for _, c := range []struct {
			ready *sample
			args  []string
		}{{&embedded, nil}, {&other, []string{"--model", file}}} {
			if err := b.startOnce(ctx, &serves, c.ready, c.args...); err != nil {
				return err
			}
		}
	}
	b.out.table(fmt.Sprintf("START on an empty data directory, ms from the start of the program; median of %d [lowest–highest]", b.reps), [][]string{
		{"", "measured", "target", ""},
		{"it serves", serves.show("%.0f"), "", ""},
		{"an engine of the embedded model is ready", embedded.show("%.0f"), fmt.Sprintf("≤ %d", startTarget), verdict(embedded.median() <= startTarget)},
		{"an engine of a model from a file is ready", other.show("%.0f"), "", ""},
	})
	return nil
}

// otherModel writes a model that differs from the embedded one in a byte that says nothing.
func (b *bench) otherModel() (string, error) {
	m, err := loader.Embedded()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "detections-bench-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "model.onnx")
	// A field of ONNX's ModelProto that is a text for people: doc_string, 6.
	return path, os.WriteFile(path, append(append([]byte(nil), m.Bytes...), 6<<3|2, 1, '-'), 0o600)
}

func (b *bench) startOnce(ctx context.Context, serves, ready *sample, args ...string) error {
	data, err := os.MkdirTemp("", "detections-bench-")
	if err != nil {
		return err
	}
	begun := time.Now()
	h, err := launchHub(ctx, b.options, data, args...)
	if err != nil {
		return errors.Join(err, os.RemoveAll(data))
	}
	serves.addMS(time.Since(begun))
	err = h.ready(ctx)
	ready.addMS(time.Since(begun))
	return errors.Join(err, h.stop())
}
