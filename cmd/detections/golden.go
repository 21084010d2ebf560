//go:build cgo

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"detections/infer"
	"detections/infer/loader"
	"detections/media/spool"
	"detections/session"
	"detections/session/wire"
)

// Golden pictures are pictures beside a model of which it is known what it must find in
// them. A version that does not is refused.

// golden is one of them.
type golden struct {
	// Image is the path of the picture, in the model's folder.
	Image string `json:"image"`
	// Expect is what must be found. Other things may be found too.
	Expect []goldenBox `json:"expect"`
	// Nothing says that nothing at all may be found.
	Nothing bool `json:"nothing"`
}

type goldenBox struct {
	Label      string     `json:"label"`
	Box        [4]float64 `json:"box"`        // x, y, width, height in pixels
	Confidence float64    `json:"confidence"` // at least; 0: the usual threshold
	IoU        float64    `json:"iou"`        // how well the boxes must agree; 0: 0.5
}

// readGolden reads the list of a model; none: there is none.
func readGolden(f *loader.File) (list []golden, dir string, err error) {
	for _, path := range f.GoldenLists() {
		text, err := os.ReadFile(path) //nolint:gosec // G304: beside the model that the operator names
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		d := json.NewDecoder(bytes.NewReader(text[:min(len(text), loader.MaxGoldenList)]))
		d.DisallowUnknownFields()
		if err := d.Decode(&list); err != nil {
			return nil, "", fmt.Errorf("%s: expected a list of golden pictures: %w", path, err)
		}
		if len(list) > loader.MaxGolden {
			return nil, "", fmt.Errorf("%s: %d golden pictures, expected at most %d", path, len(list), loader.MaxGolden)
		}
		return list, filepath.Dir(path), nil
	}
	return nil, "", nil
}

// held is an Inference that always gives the same engines.
type held struct{ b *infer.Batcher }

func (h held) Acquire(context.Context, session.Want, func(wire.AI)) (*session.Hold, error) {
	return &session.Hold{Batcher: h.b, Release: func() {}}, nil
}

// golden says which of the pictures beside the model it does not see as it must.
func (p *plan) golden(ctx context.Context, b *infer.Batcher) error {
	list, dir, err := readGolden(&p.file)
	if err != nil || len(list) == 0 {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // it was only read
	for _, g := range list {
		if err := p.see(ctx, root, g, b); err != nil {
			return fmt.Errorf("golden picture %s: %w", g.Image, err)
		}
	}
	p.log.Info("golden pictures are seen as they must be", "model", b.Model().Ref(), "provider", b.Identity().Provider, "pictures", len(list))
	return nil
}

func (p *plan) see(ctx context.Context, root *os.Root, g golden, b *infer.Batcher) error {
	picture, err := root.ReadFile(g.Image)
	if err != nil {
		return err
	}
	sp, err := spool.Memory("golden")
	if err != nil {
		return err
	}
	defer sp.Close() //nolint:errcheck // in memory
	if err := sp.Append(picture); err != nil {
		return err
	}
	lowest := float64(infer.DefaultThreshold)
	for _, e := range g.Expect {
		if e.Confidence > 0 {
			lowest = min(lowest, e.Confidence)
		}
	}
	c := session.PictureConfig{Principal: "golden", Inference: held{b}, Decoders: p.decoders, Detect: &wire.Detect{Threshold: &lowest}}
	seen, _, err := session.DetectPicture(ctx, c, sp)
	if err != nil {
		return err
	}
	return g.compare(seen.Detections)
}

// compare says what was not seen.
func (g *golden) compare(seen []wire.Detection) error {
	if g.Nothing && len(seen) > 0 {
		return fmt.Errorf("expected nothing in it, found %d objects, the first %s at %v", len(seen), seen[0].Label, seen[0].Box)
	}
	for _, e := range g.Expect {
		least, best := e.IoU, 0.0
		if least == 0 {
			least = 0.5
		}
		for _, d := range seen {
			if d.Label == e.Label && float64(d.Confidence) >= e.Confidence {
				best = max(best, overlap(e.Box, d.Box))
			}
		}
		if best < least {
			return fmt.Errorf("expected %s at %v with an overlap of %.2f, found at most %.2f among %d objects", e.Label, e.Box, least, best, len(seen))
		}
	}
	return nil
}

// overlap is the intersection of two boxes over their union.
func overlap(a [4]float64, b [4]wire.Pixels) float64 {
	along := func(i int) float64 {
		return max(0, min(a[i]+a[i+2], float64(b[i]+b[i+2]))-max(a[i], float64(b[i])))
	}
	both := along(0) * along(1)
	all := a[2]*a[3] + float64(b[2])*float64(b[3]) - both
	if all <= 0 {
		return 0
	}
	return both / all
}
