package web_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"detections/session/wire"
)

// event is one server-sent event.
type event struct {
	id, kind, data string
	message
}

// message is anything from the hub.
type message struct {
	Type       wire.Type
	Offset     uint64
	Bytes      int64
	Session    string
	Token      string
	Epoch      string
	Recovered  bool
	Frame      int64
	Code       wire.Code
	Message    string
	Outcome    wire.Outcome
	State      wire.StateName
	AI         *wire.AI
	Detections []wire.Detection
	Accounting wire.Accounting
}

func (m message) numbered() bool {
	return slices.Contains([]wire.Type{wire.TypeConfigured, wire.TypeDetections, wire.TypeEnd}, m.Type)
}

// events is a stream of server-sent events.
type events struct {
	*house
	r   *bufio.Reader
	log []event // the numbered ones that came
}

func (s *house) events(a *http.Response) *events {
	s.t.Helper()
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "text/event-stream" || a.Header.Get("Cache-Control") != "no-store" {
		s.t.Fatalf("%s: %s %v", a.Request.URL, a.Status, a.Header)
	}
	return &events{house: s, r: bufio.NewReader(a.Body)}
}

// next reads one event.
func (e *events) next() (ev event, ok bool) {
	e.t.Helper()
	for {
		line, err := e.r.ReadString('\n')
		if err != nil {
			return ev, false
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch key {
		case "id":
			ev.id = value
		case "event":
			ev.kind = value
		case "data":
			ev.data = value
		case "":
			if ev.data == "" {
				continue // a comment
			}
			if err := json.Unmarshal([]byte(ev.data), &ev.message); err != nil || ev.kind != string(ev.Type) {
				e.t.Fatalf("event %q %s: %v", ev.kind, ev.data, err)
			}
			if ev.numbered() {
				e.log = append(e.log, ev)
			}
			return ev, true
		}
	}
}

func (e *events) until(what string, ok func(message) bool) event {
	e.t.Helper()
	for {
		ev, more := e.next()
		if !more {
			e.t.Fatalf("waiting for %s: the stream ended after %+v", what, e.log)
		}
		if ok(ev.message) {
			return ev
		}
	}
}

func (e *events) untilEnd() event {
	e.t.Helper()
	end := e.until("end", func(m message) bool { return m.Type == wire.TypeEnd })
	if ev, more := e.next(); more {
		e.t.Errorf("after the end came %s", ev.data)
	}
	return end
}

// data are the numbered messages that came.
func (e *events) data() (all []string) {
	for _, ev := range e.log {
		all = append(all, ev.data)
	}
	return all
}

// lines reads a whole NDJSON answer.
func (s *house) lines(a *http.Response) (all []message, end message) {
	s.t.Helper()
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/x-ndjson" {
		s.t.Fatalf("%s: %s %v", a.Request.URL, a.Status, a.Header)
	}
	for d := json.NewDecoder(a.Body); d.More(); {
		var m message
		if err := d.Decode(&m); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, m)
	}
	if len(all) == 0 || all[0].Type != wire.TypeStarted || all[len(all)-1].Type != wire.TypeEnd {
		s.t.Fatalf("messages %+v", all)
	}
	return all, all[len(all)-1]
}

func TestStreamResumesExactly(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	whole := s.events(s.do("POST", "/detect/video", bytes.NewReader(video(30))))
	id := whole.until("started", func(m message) bool { return m.Type == wire.TypeStarted }).Session
	whole.untilEnd()
	if len(whole.log) != 32 {
		t.Fatalf("%d events", len(whole.log))
	}
	for _, n := range []int{1, 13, 31} {
		last := whole.log[n-1]
		again := s.events(s.get("/detect/stream?session="+id, "Last-Event-ID", last.id))
		again.untilEnd()
		query := s.events(s.get("/detect/stream?session=" + id + "&last_event_id=" + last.id))
		query.untilEnd()
		if !slices.Equal(again.data(), whole.data()[n:]) || !slices.Equal(query.data(), whole.data()[n:]) {
			t.Errorf("after event %d (%s) came %d and %d events", n, last.id, len(again.log), len(query.log))
		}
	}
	if all := s.events(s.get("/detect/stream?session="+id, "Last-Event-ID", whole.log[31].id)); all.until("started", func(m message) bool { return m.Type == wire.TypeStarted }).Offset != 32 {
		t.Error("a reader who has seen everything is not told so")
	} else if ev, more := all.next(); more {
		t.Errorf("after everything came %s", ev.data)
	}
	void := s.events(s.get("/detect/stream?session="+id, "Last-Event-ID", "other:7"))
	if m := void.until("started", func(m message) bool { return m.Type == wire.TypeStarted }); m.Recovered || m.Offset != 0 {
		t.Errorf("another epoch: %s", m.data)
	}
	void.untilEnd()
	if !slices.Equal(void.data(), whole.data()) {
		t.Errorf("another epoch: %d events", len(void.log))
	}
}

func TestStreamOfARunningSession(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	up := s.upload("/detect/video")
	up.send(video(5))
	first := s.events(up.answer())
	id := first.until("started", func(m message) bool { return m.Type == wire.TypeStarted }).Session
	seen := first.until("frame 2", func(m message) bool { return m.Frame == 2 })
	reader := s.events(s.get("/detect/stream?session="+id, "Last-Event-ID", seen.id))
	up.send(video(5))
	reader.until("frame 8", func(m message) bool { return m.Frame == 8 })
	up.end()
	reader.untilEnd()
	first.untilEnd()
	if want := first.data()[4:]; !slices.Equal(reader.data(), want) {
		t.Errorf("the reader saw %d events, want %d", len(reader.log), len(want))
	}
}

func TestStreamFilters(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	all, _ := s.lines(s.do("POST", "/detect/video?labels=red&results=nonempty", bytes.NewReader(video(9)), "Accept", "application/x-ndjson"))
	var frames []int64
	for _, m := range all {
		if m.Type == wire.TypeDetections {
			frames = append(frames, m.Frame)
		}
	}
	if !slices.Equal(frames, []int64{2, 5, 8}) {
		t.Errorf("frames %v", frames)
	}
	again, _ := s.lines(s.get("/detect/stream?session="+all[0].Session, "Accept", "application/json, application/x-ndjson;q=0.9"))
	if len(again) != 13 && len(again) != 12 { // started, state, configured, nine results, end
		t.Errorf("unfiltered %d messages", len(again))
	}
}

func TestStreamRefusals(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	s.problem(s.get("/detect/stream?session=nobody"), 404, wire.UnknownSession, `no session "nobody"`)
	s.problem(s.get("/detect/stream?session=x", "Last-Event-ID", "seven"), 400, wire.BadMessage, `expected epoch:offset as sent before, got "seven"`)
	s.problem(s.get("/detect/stream?session=x&results=some"), 400, wire.BadMessage, `expected "all" or "nonempty"`)
	s.problem(s.get("/detect/stream?media=5"), 404, wire.UnknownMedia, `no session with media "5"`)
	s.problem(s.get("/"+strings.Repeat("a", 5000)), 404, wire.BadMessage, "aaa; GET / lists what there is")
	s.works()
}

func TestLiveTailSeesEverySession(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	tail := s.events(s.get("/detect/stream"))
	tail.until("the engine", func(m message) bool { return m.State == wire.Running })
	ids := map[string]uint64{}
	for range 3 {
		all, _ := s.lines(s.do("POST", "/detect/video", bytes.NewReader(video(4)), "Accept", "application/x-ndjson"))
		ids[all[0].Session] = 0
	}
	for range 3 * 6 {
		ev := tail.until("an event", func(message) bool { return true })
		if n, ok := ids[ev.Session]; !ok || ev.Offset != n+1 || ev.id != "" {
			t.Fatalf("id %q, %s", ev.id, ev.data)
		}
		ids[ev.Session]++
	}
	s.hub.Drain(t.Context())
	if ev, more := tail.next(); more {
		t.Errorf("after the drain came %s", ev.data)
	}
}
