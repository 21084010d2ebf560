//go:build cgo

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"detections/media"
	"detections/media/mediatest"
	"detections/session/wire"
)

const (
	// mediaFrames is how many frames of each file the processor time is an average
	// of, at least: the kernel counts it in ticks.
	mediaFrames = 40
	// starts are the sessions without any media in them that show what a decoder
	// process costs before it decodes.
	starts = 20
)

var noMedia = []byte("just some words, by which a decoder process knows that there is nothing to do")

// everyMedia prints a row for every container and codec that is offered.
func (b *bench) everyMedia(ctx context.Context) error {
	empty, err := b.decoding(ctx, starts, noMedia)
	if err != nil {
		return err
	}
	start := empty.cpu / starts
	rows := [][]string{{"file", "container", "codec", "frames", "persons", "first detection, ms", "", "after byte", "of", "CPU ms/frame", "alone"}}
	for _, f := range mediatest.Files {
		if ok, err := filepath.Match(b.files, f.Name); err != nil {
			return fmt.Errorf("--files: %w", err)
		} else if !ok {
			continue
		}
		row, err := b.mediaRow(ctx, f.Name, f.Frames, time.Duration(f.Frames)*f.Step, start)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		rows = append(rows, append([]string{f.Name, f.Container, f.Codec}, row...))
	}
	b.out.table(fmt.Sprintf("MEDIA: every container and codec over a WebSocket; first detection: target < %d ms, median of %d [lowest–highest]",
		firstTarget.Milliseconds(), b.reps), rows)
	b.out.line("  first detection: the upload has the file's own bit rate (pictures: all at once); counted from the byte with which FFmpeg without\n"+
		"  probing emits the first picture. persons: in all frames, at the default threshold. CPU: user and system time of the decoder\n"+
		"  process until it has ended, without its start (%.0f ms), in ticks of %d ms over at least %d frames. alone: decoding and scaling on\n"+
		"  one thread of this process.", ms(start), tick.Milliseconds(), mediaFrames)
	return nil
}

// mediaRow measures a file that lasts so long, 0: as long as ffprobe says.
func (b *bench) mediaRow(ctx context.Context, name string, frames int, lasts, start time.Duration) ([]string, error) {
	path := filepath.Join(b.media, name)
	text, err := os.ReadFile(path) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return nil, err
	}
	cost, err := b.cost(name, media.Sample{})
	if err != nil {
		return nil, err
	}
	u := upload{bytes: text, mark: cost.FirstFrame}
	if lasts == 0 && frames > 1 {
		if lasts, err = probeDuration(path); err != nil {
			return nil, err
		}
	}
	if lasts > 0 {
		u.rate = float64(len(text)) / lasts.Seconds()
	}
	var first firstOf
	for range b.reps {
		if err := b.firstOnce(ctx, webSocket, u, &first); err != nil {
			return nil, err
		}
	}
	times := (mediaFrames + frames - 1) / frames
	d, err := b.decoding(ctx, times, text)
	if err = errors.Join(err, d.err); err != nil {
		return nil, err
	}
	found := fmt.Sprint(d.frames)
	if d.frames != frames {
		found += fmt.Sprintf(" of %d", frames)
	}
	return []string{
		found, fmt.Sprint(d.persons), first.latency.show("%.0f"), verdict(first.latency.median() < ms(firstTarget) && d.frames == frames),
		fmt.Sprint(u.mark), fmt.Sprint(len(text)),
		fmt.Sprintf("%.1f", max(0, perFrame(d.cpu-time.Duration(times)*start, times*frames))), fmt.Sprintf("%.1f", ms(cost.PerFrame())),
	}, nil
}

// probeDuration asks ffprobe how long a file is.
func probeDuration(path string) (time.Duration, error) {
	//nolint:gosec // G204: the operator names the file
	text, err := exec.Command("ffprobe", "-v", "error", "-of", "json", "-show_entries", "format=duration", path).Output()
	if err != nil {
		return 0, fmt.Errorf("ffprobe: %w", err)
	}
	var probed struct{ Format struct{ Duration string } }
	if err := json.Unmarshal(text, &probed); err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseFloat(probed.Format.Duration, 64)
	if err != nil || seconds <= 0 {
		return 0, fmt.Errorf("ffprobe: %s", text)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// decoded is what sessions of a file found, each, and what their decoder processes
// used, all together.
type decoded struct {
	frames, persons int
	err             error // of the last one
	cpu             time.Duration
}

// decoding runs whole sessions, one after another, as fast as they go.
func (b *bench) decoding(ctx context.Context, times int, text []byte) (d decoded, err error) {
	if err := b.hub.settled(ctx); err != nil {
		return d, err
	}
	before, err := readStat(b.hub.pid)
	if err != nil {
		return d, err
	}
	for range times {
		d.frames, d.persons = 0, 0
		if d.err = b.whole(ctx, text, &d); d.err == nil && d.frames == 0 {
			d.err = errors.New("no results")
		}
	}
	if err := b.hub.settled(ctx); err != nil {
		return d, err
	}
	after, err := readStat(b.hub.pid)
	d.cpu = after.reaped - before.reaped
	return d, err
}

// whole runs a session to its end.
func (b *bench) whole(ctx context.Context, text []byte, d *decoded) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := webSocket.open(b.hub, ctx, wire.Start{})
	if err != nil {
		return err
	}
	defer s.stop()
	fed := make(chan error, 1)
	go func() { fed <- new(pacer).run(ctx, s, text) }()
	for m := range s.messages {
		if m.Type != wire.TypeDetections {
			continue
		}
		d.frames++
		for _, found := range m.Detections {
			if found.Label == "person" {
				d.persons++
			}
		}
	}
	return errors.Join(<-fed, s.err)
}

// sampled are the files of the table sampling. The target is for the first; the
// others show how much depends on the encoder.
var sampled = []struct{ name, what string }{
	{"camera.mp4", "1080p, 25 fps, H.264, two of three pictures not referred to"},
	{"camera-x264.mp4", "the same by x264, whose B frames refer to each other"},
	{"camera-ippp.mp4", "the same without B frames"},
	{"camera-hevc.mp4", "the same as HEVC"},
	{"people-bframes.mp4", "768×576, 10 fps, H.264 by x264"},
	{"people.mp4", "768×576, 10 fps, H.264 by x264"},
}

const thriftTarget = 0.6

// sampling compares the decoding of files of which two frames per second are picked
// with that of files of which all are.
func (b *bench) sampling(context.Context) error {
	rows := [][]string{{"", "", "all, CPU ms/frame", "2 fps", "ratio", "target", ""}}
	for i, f := range sampled {
		var all, some, ratio sample
		for range b.reps {
			whole, err1 := b.cost(f.name, media.Sample{})
			part, err2 := b.cost(f.name, media.Sample{FPS: 2})
			if err := errors.Join(err1, err2); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			all.addMS(whole.PerFrame())
			some.addMS(part.PerFrame())
			ratio.add(part.CPU.Seconds() / whole.CPU.Seconds())
		}
		row := []string{
			f.name, f.what, all.show("%.2f"), some.show("%.2f"), ratio.show("%.2f"),
		}
		if i == 0 {
			row = append(row, fmt.Sprintf("≤ %.1f", thriftTarget), verdict(ratio.median() <= thriftTarget))
		}
		rows = append(rows, row)
	}
	b.out.table(fmt.Sprintf("SAMPLING: decoding, two frames per second scaled, against decoding and scaling all; median of %d [lowest–highest]", b.reps), rows)
	b.out.line("  Left out are H.264 pictures to which no other refers and which the rule cannot pick; how many there are is the encoder's choice.")
	return nil
}
