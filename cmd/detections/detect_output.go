package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"detections/session/wire"
)

// record takes the results of one input. Its methods belong to one goroutine.
type record interface {
	event(m any) error // *wire.Detections, *wire.Configured, *wire.Segment, *wire.End
	// discard says that what came so far is void.
	discard() error
	finish(s *summary) error
}

// formats make records. The writer is shared by all inputs, or belongs to this one.
var formats = map[string]func(in *input, w *writer) record{
	"text":   func(_ *input, w *writer) record { return &textRecord{w: w} },
	"json":   func(in *input, w *writer) record { return &jsonRecord{in: in, w: w} },
	"ndjson": func(in *input, w *writer) record { return &lineRecord{in: in, w: w} },
	"csv":    func(in *input, w *writer) record { return &csvRecord{in: in, w: w} },
}

// outputError is that results cannot be written: everything ends.
type outputError struct {
	path string
	kept string // what is left
	err  error
}

// written is what is left when a write has failed.
const written = "; those written before are kept"

func (e *outputError) Error() string {
	err := e.err
	if p, ok := errors.AsType[*os.PathError](err); ok {
		err = p.Err
	}
	return fmt.Sprintf("results cannot be written to %s: %v%s", e.path, err, e.kept)
}

func (e *outputError) Unwrap() error { return e.err }

// writer is where results go: the terminal, a pipe or a file.
type writer struct {
	path  string
	file  *os.File // nil: the screen's standard output
	put   func([]byte) error
	array bool // JSON: one array around all

	mu    sync.Mutex
	begun bool // something was written
}

// write writes a piece that must stay whole.
func (w *writer) write(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writeLocked(p)
}

func (w *writer) writeLocked(p []byte) error {
	w.begun = true
	if err := w.put(p); err != nil {
		return &outputError{w.path, written, err}
	}
	return nil
}

// head writes once, before everything else.
func (w *writer) head(p string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun {
		return nil
	}
	return w.writeLocked([]byte(p))
}

// item writes an element of the array.
func (w *writer) item(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := ""
	switch {
	case w.array && w.begun:
		before = ",\n"
	case w.array:
		before = "[\n"
	}
	return w.writeLocked(append([]byte(before), p...))
}

func (w *writer) close() error {
	var err error
	if w.array {
		end := "\n]\n"
		if !w.begun {
			end = "[]\n"
		}
		err = w.write([]byte(end))
	}
	if w.file != nil {
		if e := w.file.Close(); e != nil {
			err = errors.Join(err, &outputError{w.path, written, e})
		}
	}
	return err
}

// output gives every input its record.
type output struct {
	format string
	dir    string  // one file for each input
	shared *writer // or one for all
}

func newOutput(o *detectOptions, s *screen) (*output, error) {
	out := &output{format: o.format}
	if o.saveTo != "" {
		if err := os.MkdirAll(o.saveTo, 0o755); err != nil { //nolint:gosec // G301: the user's results, under his umask
			return nil, fmt.Errorf("--save-frames: %w", err)
		}
	}
	st, err := os.Stat(o.output)
	switch {
	case o.output == "":
		out.shared = &writer{path: "the standard output", put: s.out}
	case err == nil && st.IsDir(), strings.HasSuffix(o.output, "/"):
		out.dir = o.output
		return out, nil
	default:
		if out.shared, err = create(o.output); err != nil {
			return nil, err
		}
	}
	out.shared.array = o.format == "json"
	return out, nil
}

func create(path string) (*writer, error) {
	f, err := os.Create(path) //nolint:gosec // G304: the user names the file
	if err != nil {
		return nil, &outputError{path, "", err}
	}
	return &writer{path: path, file: f, put: func(p []byte) error { _, err := f.Write(p); return err }}, nil
}

// begin makes the record of an input.
func (o *output) begin(in *input) (record, error) {
	if o.shared != nil {
		return formats[o.format](in, o.shared), nil
	}
	ext := map[string]string{"text": "txt"}[o.format]
	if ext == "" {
		ext = o.format
	}
	path := filepath.Join(o.dir, in.out+"."+ext)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // G301: the user's results, under his umask
		return nil, &outputError{path, "", err}
	}
	w, err := create(path)
	if err != nil {
		return nil, err
	}
	return &owned{formats[o.format](in, w), w}, nil
}

func (o *output) close() error {
	if o.shared == nil {
		return nil
	}
	return o.shared.close()
}

// owned closes the file of an input.
type owned struct {
	record
	w *writer
}

func (o *owned) finish(s *summary) error { return errors.Join(o.record.finish(s), o.w.close()) }

// textRecord writes the summary.
type textRecord struct{ w *writer }

func (r *textRecord) event(any) error { return nil }
func (r *textRecord) discard() error  { return nil }

func (r *textRecord) finish(s *summary) error {
	if s.Error != nil && s.Frames == 0 {
		return nil // the complaint says it all
	}
	bold := func(text string) string { return text }
	if r.w.file == nil && colourful(os.Stdout) {
		bold = func(text string) string { return "\x1b[1m" + text + "\x1b[0m" }
	}
	return r.w.write([]byte(s.text(bold)))
}

// lineRecord writes every event as a line.
type lineRecord struct {
	in *input
	w  *writer
}

func (r *lineRecord) event(m any) error { return r.w.write(append(named(r.in, m), '\n')) }

func (r *lineRecord) discard() error {
	return r.event(map[string]string{"type": "discard"})
}

func (r *lineRecord) finish(s *summary) error {
	if s.Error == nil || s.account != nil {
		return nil // the end event has it
	}
	return r.event(map[string]any{"type": "error", "code": s.Error.Code, "message": s.Error.Message})
}

// named is a message with the input's name in front.
func named(in *input, m any) []byte {
	name, body := wire.Encode(in.name), wire.Encode(m)
	return bytes.Join([][]byte{[]byte(`{"file":`), name, []byte(","), body[1:]}, nil)
}

// jsonRecord keeps the frames until the input is done.
type jsonRecord struct {
	in     *input
	w      *writer
	frames bytes.Buffer
}

func (r *jsonRecord) event(m any) error {
	if d, ok := m.(*wire.Detections); ok {
		if r.frames.Len() > 0 {
			r.frames.WriteString(",\n  ")
		}
		r.frames.Write(wire.Encode(d))
	}
	return nil
}

func (r *jsonRecord) discard() error {
	r.frames.Reset()
	return nil
}

func (r *jsonRecord) finish(s *summary) error {
	head := wire.Encode(struct {
		File       string           `json:"file"`
		Outcome    wire.Outcome     `json:"outcome"`
		Error      *failure         `json:"error,omitempty"`
		Width      int              `json:"width"`
		Height     int              `json:"height"`
		Model      string           `json:"model"`
		Took       wire.Millis      `json:"took_ms"`
		Accounting *wire.Accounting `json:"accounting,omitempty"`
	}{r.in.name, s.Outcome, s.Error, s.Width, s.Height, s.Model, wire.Millis(s.Took), s.account})
	whole := append(head[:len(head)-1], ",\n \"frames\":["...)
	whole = append(append(whole, r.frames.Bytes()...), "]}"...)
	if !r.w.array {
		whole = append(whole, '\n')
	}
	return r.w.item(whole)
}

// csvRecord writes a row for every detection.
type csvRecord struct {
	in *input
	w  *writer
}

const csvHead = "file,frame,pts_ms,label,class,confidence,x,y,width,height,frame_width,frame_height\n"

func (r *csvRecord) event(m any) error {
	if err := r.w.head(csvHead); err != nil {
		return err
	}
	d, ok := m.(*wire.Detections)
	if !ok || len(d.Detections) == 0 {
		return nil
	}
	var b bytes.Buffer
	rows := csv.NewWriter(&b)
	text := func(v any) string { return string(wire.Encode(v)) }
	for _, det := range d.Detections {
		// It writes into memory.
		_ = rows.Write([]string{
			r.in.name, strconv.FormatInt(d.Frame, 10), text(d.PTS), det.Label, strconv.Itoa(det.Class), text(det.Confidence),
			text(det.Box[0]), text(det.Box[1]), text(det.Box[2]), text(det.Box[3]), strconv.Itoa(d.Width), strconv.Itoa(d.Height),
		})
	}
	rows.Flush()
	return r.w.write(b.Bytes())
}

func (r *csvRecord) discard() error {
	return errors.New("the hub lost the results that were written already, and begins again; run it once more")
}

func (r *csvRecord) finish(*summary) error { return r.w.head(csvHead) }
