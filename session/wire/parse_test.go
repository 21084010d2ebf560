package wire_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"detections/session/wire"
)

func TestHubMessagesComeBackAsTheyWere(t *testing.T) {
	half := wire.Decimal(0.5)
	for _, m := range []wire.HubMessage{
		&wire.Started{
			Type: wire.TypeStarted, Session: "s", Token: "t", Epoch: "e", Offset: 3, Bytes: 9, Recovered: true,
			Model:  &wire.StartedModel{ModelRef: wire.ModelRef{Name: "m", Version: "1"}, Labels: []string{"person"}},
			Limits: &wire.StartedLimits{Window: 1, Message: 2, Bytes: 3},
		},
		&wire.Ack{Type: wire.TypeAck, Bytes: 7},
		&wire.Detections{
			Type: wire.TypeDetections, Offset: 2, Frame: 1, PTS: wire.Millis(33333 * time.Microsecond), Width: 64, Height: 32,
			Detections: []wire.Detection{{Class: 1, Label: "cat", Confidence: 0.8765, Box: [4]wire.Pixels{1.25, 2, 3, 4}}}, Model: "m@1",
			Timing: wire.Timing{Total: wire.Millis(12345 * time.Microsecond)},
		},
		&wire.Configured{Type: wire.TypeConfigured, Offset: 1, Mode: wire.File, Sample: wire.Sample{FPS: 2}},
		&wire.Segment{Type: wire.TypeSegment, Offset: 3, Reason: wire.Restarted, Frame: 7, Missed: map[string]int64{"not_recorded": 1}},
		&wire.End{Type: wire.TypeEnd, Offset: 4, Outcome: wire.Failed, Code: wire.DecodeFailed, Message: "why"},
		&wire.Progress{Type: wire.TypeProgress, Percent: &half},
		&wire.State{Type: wire.TypeState, State: wire.Running},
		&wire.ErrorMessage{Type: wire.TypeError, Code: wire.Quota, Message: "m", Temporary: true, Fatal: true},
		&wire.GoAway{Type: wire.TypeGoAway, Action: "reconnect", Retry: wire.Millis(time.Second)},
		&wire.Pong{Type: wire.TypePong, T: []byte("1")},
	} {
		text := wire.Encode(m)
		got, err := wire.ParseHub(text)
		if err != nil || reflect.TypeOf(got) != reflect.TypeOf(m) || !bytes.Equal(wire.Encode(got), text) {
			t.Errorf("%s came back as %s, %v", text, wire.Encode(got), err)
		}
	}
}

func TestParseHubIgnoresWhatItDoesNotKnow(t *testing.T) {
	if m, err := wire.ParseHub([]byte(`{"type":"weather","sun":1}`)); m != nil || err != nil {
		t.Errorf("got %v, %v", m, err)
	}
	for _, text := range []string{``, `[]`, `{"type":7}`, `{"type":"ack","bytes":"many"}`} {
		if m, err := wire.ParseHub([]byte(text)); err == nil {
			t.Errorf("%q: got %v", text, m)
		}
	}
}

func TestClientMessagesAreWhatTheHubParses(t *testing.T) {
	for _, m := range []wire.ClientMessage{
		&wire.Start{}, &wire.Start{Key: "k", Sample: &wire.Sample{FPS: 2}},
		&wire.Resume{Session: "s", Token: "t", Epoch: "e", Offset: 4}, &wire.Watch{Session: "s"},
		&wire.Configure{ID: "1", Results: wire.NonEmpty}, &wire.Ping{}, &wire.Ping{T: []byte("17")},
		wire.EOF{},
		wire.Cancel{},
	} {
		text := wire.EncodeClient(m)
		got, err := wire.ParseClient(text)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s came back as %#v, %v", text, got, err)
		}
	}
}
