//go:build cgo

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
	"detections/media"
)

// inspect says what a model is, and how fast.
func inspect(ctx context.Context, w io.Writer, s *settings, each time.Duration) error {
	file, err := s.file(ctx, nil)
	if err != nil {
		return err
	}
	if err := ort.Init(s.ortLibrary); err != nil {
		return err
	}
	facts, err := ort.Inspect(file.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", file.Name, err)
	}
	sayFacts(w, file, facts)
	model, err := s.describe(file, ort.Normal)
	if err != nil {
		return err
	}
	sayModel(w, model)
	if each == 0 {
		return nil
	}
	fmt.Fprintln(w)
	var all []timing
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "PROVIDER\tBATCH\tMS A PICTURE\tPICTURES A SECOND\tHEAD AND NMS")
	for _, p := range s.providers {
		measured, err := measureProvider(ctx, s, file, model, p, each)
		if err != nil {
			why := strings.Join(strings.Fields(err.Error()), " ")
			if _, after, ok := strings.Cut(why, "works: "+p+": "); ok {
				why = after
			}
			fmt.Fprintf(table, "%s\t–\tdoes not work: %s\n", p, why)
			continue
		}
		for _, t := range measured {
			fmt.Fprintf(table, "%s\t%d\t%.1f\t%.1f\t%.2f ms (%.1f %%)\n", t.provider, t.batch, 1000/t.perSecond, t.perSecond, ms(t.post), 100*t.post.Seconds()*t.perSecond)
		}
		all = append(all, measured...)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("no execution provider runs this model")
	}
	return recommend(w, model, all)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// lines prints lines with a name before each.
func lines(w io.Writer) func(name, format string, args ...any) {
	return func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
}

// sayFacts prints what the file says.
func sayFacts(w io.Writer, file loader.File, f *infer.Facts) {
	line := lines(w)
	line("model", "%s@%s, %s, sha256 %s", file.Name, file.Version, humanize.IBytes(uint64(len(file.Bytes))), file.SHA256)
	if file.DescribedBy != "" {
		line("description", "%s", file.DescribedBy)
	}
	if d := file.Description; d != nil && d.Classes != nil {
		line("classes", "%s", d.Classes.Path)
	}
	for _, t := range f.Inputs {
		line("input", "%s", t)
	}
	for _, t := range f.Outputs {
		line("output", "%s", t)
	}
	for _, k := range slices.Sorted(maps.Keys(f.Metadata)) {
		text := strings.Join(strings.Fields(f.Metadata[k]), " ")
		if r := []rune(text); len(r) > 60 {
			text = string(r[:60]) + "…"
		}
		line("metadata", "%s = %s", k, text)
	}
}

// sayModel prints how the program uses the model.
func sayModel(w io.Writer, m *infer.Model) {
	line := lines(w)
	for _, f := range infer.Families() {
		if f[0] == m.Family {
			line("head", "%s: %s", f[0], f[1])
		}
	}
	in := m.Input
	color := map[media.PixelFormat]string{media.BGR24: "BGR", media.RGB24: "RGB"}[in.Format]
	fit := map[media.Fit]string{media.Stretch: "stretched", media.Letterbox: "letterbox, centred", media.Corner: "letterbox, top left"}[in.Fit]
	if in.Fit != media.Stretch {
		fit += fmt.Sprintf(", border %d", in.Fill)
	}
	line("pixels", "%d×%d %s, %s %s, %s", in.Width, in.Height, color, in.Type, in.Layout, fit)
	line("", "(v − mean) / std, mean %v, std %v", in.Mean, in.Std)
	if m.Single {
		line("NMS", "no: the model gives each object once")
	} else {
		line("NMS", "yes")
	}
	if m.Batch > 0 {
		line("batch", "always %d pictures", m.Batch)
	}
	shown := m.Labels[:min(len(m.Labels), 8)]
	more := ""
	if len(shown) < len(m.Labels) {
		more = ", …"
	}
	line("labels", "%d: %s%s", len(m.Labels), strings.Join(shown, ", "), more)
	if m.Thresholds != nil {
		line("thresholds", "%.4g to %.4g, by class, unless a session asks for one", slices.Min(m.Thresholds), slices.Max(m.Thresholds))
	}
}

// timing is how fast a model runs.
type timing struct {
	provider  string
	batch     int
	perSecond float64
	post      time.Duration // head and NMS of a picture
}

// measureProvider opens the model on one provider, in the sizes of batch that it takes.
func measureProvider(ctx context.Context, s *settings, file loader.File, m *infer.Model, provider string, each time.Duration) ([]timing, error) {
	sizes := []int{1, 2, 4, 8}
	if provider != "cpu" {
		sizes = append(sizes, ort.DefaultBatchGPU)
	}
	if m.Batch > 0 {
		sizes = []int{m.Batch}
	}
	var all []timing
	for _, n := range sizes {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		t, err := measureBatch(s, file, m, provider, n, each)
		if err != nil && n > 1 && len(all) > 0 {
			return all, nil //nolint:nilerr // the model takes no larger batches
		}
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

func measureBatch(s *settings, file loader.File, m *infer.Model, provider string, n int, each time.Duration) (t timing, err error) {
	o := s.engine(provider, s.threads, slog.New(slog.DiscardHandler))
	o.MaxBatch, o.Cache = n, "" // TensorRT builds each size anew
	e, err := ort.Open(file.Bytes, m, o)
	if err != nil {
		return t, err
	}
	defer closing(&err, e.Close)
	if w, ok := e.(interface{ Warm() }); ok {
		w.Warm()
	}
	measured, err := infer.Measure([]infer.Engine{e}, n, each)
	if err != nil {
		return t, err
	}
	var post infer.Postprocessor
	d := &infer.Detect{Threshold: 0.25, IoU: infer.DefaultIoU}
	place := m.Input.View().Place(m.Input.Width, m.Input.Height)
	post.Detect(e, 0, d, place)
	begun, times := time.Now(), 0
	for ; times < 1000 && (times == 0 || time.Since(begun) < each/10); times++ {
		post.Detect(e, 0, d, place)
	}
	return timing{provider, n, measured.PerSecond(), time.Since(begun) / time.Duration(times)}, nil
}

// worth is by how much a larger batch must be faster to be recommended: whoever
// shares it waits longer.
const worth = 1.05

// recommend says which settings suit best.
func recommend(w io.Writer, m *infer.Model, all []timing) error {
	best := all[0]
	for _, t := range all[1:] {
		if t.perSecond > best.perSecond*worth {
			best = t
		}
	}
	more := make([]string, 0, 2)
	if fastest := slices.MaxFunc(all, func(a, b timing) int { return cmp.Compare(a.perSecond, b.perSecond) }); fastest.batch > best.batch {
		more = append(more, fmt.Sprintf("batches of %d are %.0f %% faster", fastest.batch, 100*(fastest.perSecond/best.perSecond-1)))
	}
	if m.Label(0) == "class 0" {
		more = append(more, "the classes have no names: list them as labels in a description")
	}
	_, err := fmt.Fprintf(w, "\nrecommended: --providers %s --max-batch %d\n", best.provider, best.batch)
	for _, text := range more {
		fmt.Fprintln(w, text)
	}
	return err
}
