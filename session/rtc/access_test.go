package rtc_test

import (
	"errors"
	"testing"

	"detections/hub"
	"detections/media"
	"detections/session/rtc"
	"detections/session/wire"
)

// Somebody else's connection and session do not exist, even for who knows their names.
func TestConnectionsBelongToTheirPrincipal(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	may := func() error { return nil }
	a, err := s.rtc.Offer(t.Context(), "alice", rtc.Offer{SDP: offer(t, video), Start: wire.Start{Mode: wire.Live, Media: wire.Media{Container: media.Units}}, May: may})
	if err != nil {
		t.Fatal(err)
	}
	_, _, patched := s.rtc.Patch("bob", a.Resource, "*", "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n")
	_, rejoined := s.rtc.Offer(t.Context(), "bob", rtc.Offer{SDP: offer(t, video), Session: a.Session, May: may})
	for what, err := range map[string]error{"PATCH": patched, "DELETE": s.rtc.Delete("bob", a.Resource), "POST ?session=": rejoined} {
		if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.UnknownSession {
			t.Errorf("%s by another principal: %v", what, err)
		}
	}
	if err := s.rtc.Delete("alice", a.Resource); err != nil {
		t.Errorf("by her own: %v", err)
	}
}
