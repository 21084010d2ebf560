package web_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"detections/hub/outbox"
	"detections/session/wire"
)

// letterBox is an outbox with two dead letters.
type letterBox struct {
	asked []string
	err   error
}

func (*letterBox) State() outbox.State {
	return outbox.State{URL: "http://annotations", Breaker: outbox.Open, Letters: 2}
}

func (*letterBox) Letters() []outbox.Letter {
	return []outbox.Letter{{Key: "a:1", Status: 422}, {Key: "a:2", Status: 400}}
}

func (b *letterBox) Retry(_ context.Context, keys ...string) (outbox.Replayed, error) {
	b.asked = keys
	return outbox.Replayed{Delivered: 1}, b.err
}

func (b *letterBox) Drop(keys ...string) (outbox.Replayed, error) {
	b.asked = keys
	return outbox.Replayed{Dropped: 2}, b.err
}

func TestTheOutboxIsShownAndReplayed(t *testing.T) {
	box := &letterBox{}
	s := newHouse(t, options{outbox: box})
	var view struct {
		Breaker string
		List    []outbox.Letter
	}
	s.object(s.get("/v1/outbox"), http.StatusOK, &view)
	if view.Breaker != "open" || len(view.List) != 2 || view.List[0].Key != "a:1" {
		t.Errorf("outbox %+v", view)
	}
	var done outbox.Replayed
	s.object(s.do("POST", "/v1/outbox/retry", strings.NewReader(`{"keys":["a:1"]}`)), http.StatusOK, &done)
	if done.Delivered != 1 || !slices.Equal(box.asked, []string{"a:1"}) {
		t.Errorf("%+v of %v", done, box.asked)
	}
	s.object(s.do("POST", "/v1/outbox/drop", strings.NewReader(`{"all":true}`)), http.StatusOK, &done)
	if done.Dropped != 2 || len(box.asked) != 0 {
		t.Errorf("%+v of %v", done, box.asked)
	}
	if text := s.text("/metrics"); !strings.Contains(text, `detections_outbox_breaker{state="open"} 1`) || !strings.Contains(text, "detections_outbox_dead_letters 2") {
		t.Errorf("metrics %s", text)
	}
	if text := s.text("/health"); !strings.Contains(text, `"annotations":{"url":"http://annotations","breaker":"open"`) {
		t.Errorf("health %s", text)
	}
	box.err = errors.New("nobody answers")
	s.problem(s.do("POST", "/v1/outbox/retry", strings.NewReader(`{"all":true}`)), http.StatusServiceUnavailable, wire.Overloaded, "nobody answers")
}

func TestTheOutboxWantsToKnowWhichLetters(t *testing.T) {
	s := newHouse(t, options{outbox: &letterBox{}})
	for _, body := range []string{"", "{}", `{"keys":[]}`, `{"keys":["a"],"all":true}`, "all"} {
		s.problem(s.do("POST", "/v1/outbox/drop", strings.NewReader(body)), http.StatusBadRequest, wire.BadMessage, "expected")
	}
}

func TestAHubWithoutAnOutboxSaysSo(t *testing.T) {
	s := newHouse(t, options{})
	s.problem(s.get("/v1/outbox"), http.StatusNotFound, wire.BadMessage, "--annotations-url")
	s.problem(s.do("POST", "/v1/outbox/retry", strings.NewReader(`{"all":true}`)), http.StatusNotFound, wire.BadMessage, "--annotations-url")
}
