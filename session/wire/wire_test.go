package wire_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"detections/session/wire"
)

func TestParseClientNamesWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                                    "not valid JSON at byte 1",
		`[]`:                                   "must not be a array",
		`{"kind":"start"}`:                     `no "type"`,
		`{"type":7}`:                           `field "type" must not be a number`,
		`{"type":"begin"}`:                     `unknown type "begin"; expected one of [start resume`,
		`{"type":"start","mode":"fast"}`:       `mode: expected "file" or "live", got "fast"`,
		`{"type":"start","sample":{"fps":-1}}`: "fps must be above 0",
		`{"type":"start","sample":{"fps":1,"every":2}}`:                                                "not both",
		`{"type":"start","sample":{"fps":1,"all":true}}`:                                               "one of fps, every, all",
		`{"type":"start","detect":{"threshold":0}}`:                                                    "detect.threshold: expected 0.01 to 1, got 0",
		`{"type":"start","detect":{"iou":2}}`:                                                          "detect.iou: expected 0 to 1",
		`{"type":"start","detect":{"labels":"person"}}`:                                                `field "detect.labels" must not be a string`,
		`{"type":"start","media":{"sha256":"00"}}`:                                                     "64 hex digits",
		`{"type":"start","results":"some"}`:                                                            "results: expected",
		`{"type":"start","heartbeat_ms":10}`:                                                           "heartbeat_ms: expected 1000 to 120000",
		`{"type":"resume","session":"x"}`:                                                              "session and token are required",
		`{"type":"resume","session":"x","token":"t","overlap":{"from":0,"bytes":4194305,"sha256":""}}`: "expected 1 to 4194304 bytes",
		`{"type":"resume","session":"x","token":"t","overlap":{"from":0,"bytes":1,"sha256":"ab"}}`:     "overlap.sha256: expected 64 hex digits",
		`{"type":"watch"}`:                           "session is required",
		`{"type":"configure","sample":{"every":-3}}`: "every must be 1",
	} {
		m, err := wire.ParseClient([]byte(text))
		e, ok := errors.AsType[*wire.Error](err)
		if !ok || e.Code != wire.BadMessage || !strings.Contains(e.Message, want) {
			t.Errorf("%s: got %v, %v; want bad_message with %q", text, m, err, want)
		}
	}
}

func TestParseClientIgnoresUnknownFields(t *testing.T) {
	m, err := wire.ParseClient([]byte(`{"type":"start","key":"k","new":{"a":1},"sample":{"fps":2.5},"detect":{"threshold":0.3}}`))
	if err != nil {
		t.Fatal(err)
	}
	s := m.(*wire.Start)
	if s.Key != "k" || s.Sample.Rule().FPS != 2.5 || *s.Detect.Threshold != 0.3 {
		t.Errorf("got %+v", s)
	}
}

func TestNumbersHaveTheDocumentedDecimals(t *testing.T) {
	got := string(wire.Encode(map[string]any{
		"ms": wire.Millis(1234567 * time.Nanosecond), "zero": wire.Millis(0),
		"conf": wire.Decimal(0.87654321), "one": wire.Decimal(1), "px": wire.Pixels(100.256), "ten": wire.Pixels(10),
	}))
	if want := `{"conf":0.8765,"ms":1.235,"one":1,"px":100.26,"ten":10,"zero":0.000}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEveryCodeHasOneRow(t *testing.T) {
	seen := map[wire.Code]bool{}
	for _, e := range wire.Errors {
		if seen[e.Code] || e.Meaning == "" || (e.HTTP == 0 && e.Close == 0) {
			t.Errorf("bad row %+v", e)
		}
		if again := e.Close >= 4000 && e.Close < 4500; again && !e.Temporary {
			t.Errorf("%s: close code %d tells clients to come back, but it is not temporary", e.Code, e.Close)
		}
		seen[e.Code] = true
		if e.Code.Info() != e {
			t.Errorf("%s: Info gives another row", e.Code)
		}
	}
	if wire.Code("nonsense").Info().Code != wire.Internal {
		t.Error("an unknown code must be internal")
	}
}

func FuzzParseClient(f *testing.F) {
	f.Add([]byte(`{"type":"start","sample":{"every":2},"detect":{"labels":["person"]}}`))
	f.Add([]byte(`{"type":"ping","t":[1,2]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := wire.ParseClient(text)
		if (m == nil) == (err == nil) {
			t.Fatalf("message %v with error %v", m, err)
		}
		if err == nil && !json.Valid(text) {
			t.Fatal("accepted what is not JSON")
		}
	})
}

func TestTheStagesOfATimingAddUp(t *testing.T) {
	const ms = wire.Millis(time.Millisecond)
	stages := wire.Timing{Jitter: 7 * ms, Receive: ms, Decode: 2 * ms, Queue: 3 * ms, Infer: 20 * ms}
	for _, arrived := range []time.Duration{30 * time.Millisecond, 0} { // by another clock it may be less than its parts
		got := stages.Since(arrived)
		if got.Order < 0 || got.Total != got.Jitter+got.Receive+got.Decode+got.Queue+got.Infer+got.Order {
			t.Errorf("%+v", got)
		}
	}
	if got := stages.Since(30 * time.Millisecond); got.Order != 4*ms || got.Total != 37*ms {
		t.Errorf("%+v", got)
	}
}
