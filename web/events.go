package web

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"detections/session/wire"
)

// writeTime is how long a write to a client may make no progress.
const writeTime = 10 * time.Second

// eventWriter sends messages as server-sent events or as lines of JSON.
type eventWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	lines bool   // NDJSON
	epoch string // set: events carry ids
	buf   bytes.Buffer
}

const (
	typeSSE    = "text/event-stream"
	typeNDJSON = "application/x-ndjson"
)

func newEventWriter(w http.ResponseWriter, r *http.Request) *eventWriter {
	return &eventWriter{w: w, rc: http.NewResponseController(w), lines: wantsLines(r)}
}

// wantsLines says whether the first type that the client accepts and that is
// offered is NDJSON.
func wantsLines(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(v, ",") {
			switch kind, _, _ := mime.ParseMediaType(item); kind {
			case typeNDJSON, "application/ndjson", "application/jsonl":
				return true
			case typeSSE:
				return false
			}
		}
	}
	return false
}

// open sends the header.
func (o *eventWriter) open() {
	h := o.w.Header()
	h.Set("Content-Type", typeSSE)
	if o.lines {
		h.Set("Content-Type", typeNDJSON)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies must not collect events
	h.Set("X-Content-Type-Options", "nosniff")
	o.w.WriteHeader(http.StatusOK)
}

// event sends a numbered message.
func (o *eventWriter) event(e wire.Event, message []byte) error {
	id := ""
	if o.epoch != "" {
		id = fmt.Sprintf("%s:%d", o.epoch, e.Offset)
	}
	return o.send(id, e.Type, message)
}

// message sends one that is not numbered.
func (o *eventWriter) message(t wire.Type, text []byte) error { return o.send("", t, text) }

// comment keeps an idle connection alive.
func (o *eventWriter) comment() error {
	if o.lines {
		return nil
	}
	o.buf.Reset()
	o.buf.WriteString(":\n\n")
	return o.flush()
}

func (o *eventWriter) send(id string, t wire.Type, text []byte) error {
	o.buf.Reset()
	if o.lines {
		o.buf.Write(text)
		o.buf.WriteByte('\n')
		return o.flush()
	}
	if id != "" {
		fmt.Fprintf(&o.buf, "id: %s\n", id)
	}
	fmt.Fprintf(&o.buf, "event: %s\ndata: %s\n\n", t, text)
	return o.flush()
}

func (o *eventWriter) flush() error {
	_ = o.rc.SetWriteDeadline(time.Now().Add(writeTime)) // not every transport has deadlines
	if _, err := o.w.Write(o.buf.Bytes()); err != nil {  //nolint:gosec // G705: not HTML, and nosniff is set
		return err
	}
	return o.rc.Flush()
}
