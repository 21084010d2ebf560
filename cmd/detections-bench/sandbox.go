//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"detections/media"
	"detections/media/av"
	"detections/media/worker"
	"detections/media/worker/sandbox"
)

// Targets of the process boundary and the sandbox, against decoding in this process.
const (
	boxThroughput = 0.95 // of the frames per second
	boxHandOff    = 100  // µs more, median
	boxFirst      = 10   // ms more until the first frame
)

// warming is how long a pool gets to start a process again.
const warming = 200 * time.Millisecond

// decoders is a way to run a decoder.
type decoders struct {
	what  string
	start func(context.Context, *os.File, media.Job) (media.Decoder, error)

	rate, cpu, handOff, first sample
}

// boxed measures what the process boundary and the sandbox cost.
func (b *bench) boxed(ctx context.Context) error {
	rows := [][]string{{"", "", "frames/s", "of in-process", "", "CPU ms/frame", "of in-process", "hand-off, µs p50", "more", "", "first frame, ms", "more", ""}}
	dir, err := os.MkdirTemp("", "detections-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"camera.mp4", "people.mp4", longFile} {
		if ok, err := filepath.Match(b.files, name); err != nil || !ok {
			continue
		}
		path := filepath.Join(b.media, name)
		if name == longFile {
			path = filepath.Join(dir, name)
			if err := tenTimes(filepath.Join(b.media, "people.mp4"), path); err != nil {
				return err
			}
		}
		ways, closeAll := b.ways()
		for range b.reps {
			for _, w := range ways {
				time.Sleep(warming)
				if err := decodeBy(ctx, w, path); err != nil {
					closeAll()
					return fmt.Errorf("%s, %s: %w", name, w.what, err)
				}
			}
		}
		closeAll()
		for i, w := range ways {
			row := []string{name, w.what, w.rate.show("%.0f"), "", "", w.cpu.show("%.2f"), "", w.handOff.show("%.0f"), "", "", w.first.show("%.1f")}
			if i > 0 {
				var ratio, cost, more, later sample
				for n := range w.rate { // pairs of the same repetition
					ratio.add(w.rate[n] / ways[0].rate[n])
					cost.add(w.cpu[n] / ways[0].cpu[n])
					more.add(w.handOff[n] - ways[0].handOff[n])
					later.add(w.first[n] - ways[0].first[n])
				}
				row[3], row[4] = ratio.show("%.2f"), verdict(ratio.median() >= boxThroughput)
				row[6] = cost.show("%.2f")
				row[8], row[9] = more.show("%.0f"), verdict(more.median() <= boxHandOff)
				row = append(row, later.show("%.1f"), verdict(later.median() <= boxFirst))
			}
			rows = append(rows, row)
		}
	}
	b.out.table(fmt.Sprintf("SANDBOX: decoding and scaling in a process of its own against in this one; median of %d [lowest–highest]; targets: ≥ %.2f of the throughput, ≤ %d µs and ≤ %d ms more",
		b.reps, boxThroughput, boxHandOff, boxFirst), rows)
	b.out.line("  The process is one of a warm pool; its start is part of its CPU. hand-off: from complete pixels to whoever waits for them. first frame: from the start of the job, all bytes being there.")
	return nil
}

func (b *bench) ways() (ways []*decoders, closeAll func()) {
	program, err := filepath.Abs(b.program) // it starts in another folder
	if err != nil {
		program = b.program
	}
	pool := func(mode sandbox.Mode) *worker.Pool {
		return worker.NewPool(worker.Config{Path: program, Sandbox: mode})
	}
	bare, boxed := pool(sandbox.Off), pool(sandbox.Require)
	return []*decoders{
		{what: "in this process", start: func(_ context.Context, f *os.File, j media.Job) (media.Decoder, error) { return av.Open(f, j) }},
		{what: "in another", start: bare.Start},
		{what: "in a sandbox", start: boxed.Start},
	}, func() { _ = errors.Join(bare.Close(), boxed.Close()) }
}

// longFile is people.mp4 ten times: that decodes in 0.15 s, of which the start of the
// process for the next session, beside it, is a part that can be seen.
const longFile = "people-10x.mp4"

func tenTimes(from, to string) error {
	//nolint:gosec // G204: the operator names the folder
	if out, err := exec.Command("ffmpeg", "-v", "error", "-stream_loop", "9", "-i", from, "-c", "copy", to).CombinedOutput(); err != nil {
		return fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	return nil
}

// decodeBy decodes a whole file.
func decodeBy(ctx context.Context, w *decoders, path string) error {
	file, err := os.Open(path) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	begun, before := time.Now(), bothCPU()
	d, err := w.start(ctx, file, media.Job{Views: []media.View{{Width: 416, Height: 416, Fill: 114}}})
	if err != nil {
		return err
	}
	defer d.Close()
	d.Grow(info.Size(), true)
	var first time.Time
	var handOff sample
	for {
		o, err := d.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if o.Frame == nil {
			continue
		}
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		handOff.add(float64(now.Sub(o.Frame.Ready).Nanoseconds()) / 1000)
		o.Frame.Release()
	}
	took := time.Since(first)
	if err := d.Close(); err != nil { // the process is reaped
		return err
	}
	w.cpu.add(perFrame(bothCPU()-before, len(handOff)))
	w.first.addMS(first.Sub(begun))
	w.rate.add(float64(len(handOff)-1) / took.Seconds())
	w.handOff.add(handOff.median())
	return nil
}

// bothCPU is the processor time of this process, and of those that it has waited for.
func bothCPU() (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		_ = unix.Getrusage(who, &u)
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
