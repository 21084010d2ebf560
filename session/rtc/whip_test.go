package rtc_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"detections/hub"
	"detections/media"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
	"detections/session/wire"
)

// offer is what a client of the library would offer, with video of one kind.
func offer(t *testing.T, kinds ...webrtc.RTPCodecType) string {
	t.Helper()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pc.GracefulClose() }() // it was never connected
	for _, k := range kinds {
		if _, err := pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pc.CreateDataChannel("detections.v1", nil); err != nil {
		t.Fatal(err)
	}
	o, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	return o.SDP
}

const (
	audio = webrtc.RTPCodecTypeAudio
	video = webrtc.RTPCodecTypeVideo
)

// only leaves of an offer's formats those of one name.
func only(sdp, name string) string {
	return strings.NewReplacer("VP8/", name+"/", "VP9/", name+"9/", "H264/", name+"4/", "AV1/", name+"1/", "H265/", name+"5/").Replace(sdp)
}

func TestOffersThatAreRefused(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	good := offer(t, video)
	for name, c := range map[string]struct {
		sdp, kind, query string
		status           int
		code             string
	}{
		"no type":           {good, "", "", 415, "unsupported_media"},
		"another type":      {good, "application/json", "", 415, "unsupported_media"},
		"no SDP":            {"hello", "application/sdp", "", 400, "bad_message"},
		"empty":             {"", "application/sdp", "", 400, "bad_message"},
		"torn":              {good[:len(good)/3], "application/sdp", "", 400, "bad_message"},
		"no fingerprint":    {strings.ReplaceAll(good, "a=fingerprint", "a=finger"), "application/sdp", "", 400, "bad_message"},
		"no BUNDLE":         {strings.ReplaceAll(good, "a=mid", "a=middle"), "application/sdp", "", 400, "bad_message"},
		"audio only":        {offer(t, audio), "application/sdp", "", 422, "unsupported_media"},
		"no media":          {offer(t), "application/sdp", "", 422, "unsupported_media"},
		"receives only":     {strings.ReplaceAll(good, "a=sendonly", "a=recvonly"), "application/sdp", "", 422, "unsupported_media"},
		"unknown codec":     {only(good, "H263"), "application/sdp", "", 422, "unsupported_media"},
		"too large":         {good + strings.Repeat("a=x\r\n", 40_000), "application/sdp", "", 413, "too_large"},
		"too many sections": {good + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:9\r\n", 20), "application/sdp", "", 400, "bad_message"},
		"bad query":         {good, "application/sdp", "?threshold=7", 400, "bad_message"},
		"unknown session":   {good, "application/sdp", "?session=nobody", 404, "unknown_session"},
	} {
		t.Run(name, func(t *testing.T) {
			res, text := s.do("POST", "/v1/whip"+c.query, c.sdp, "Content-Type", c.kind)
			var p struct{ Code, Detail string }
			if err := json.Unmarshal([]byte(text), &p); err != nil || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%s %q: %v", res.Header.Get("Content-Type"), text, err)
			}
			if res.StatusCode != c.status || p.Code != c.code || p.Detail == "" {
				t.Errorf("%d %s", res.StatusCode, text)
			}
		})
	}
	if n := s.hub.Running() + s.rtc.Connections(); n != 0 {
		t.Errorf("%d sessions and connections are left", n)
	}
}

func TestAnAnswerHasWhatWHIPAsksFor(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{ICEServers: []rtc.ICEServer{{URL: "stun:stun.example.org"}, {URL: "turn:turn.example.org", Username: "u", Credential: "c"}}})
	links := []string{`<stun:stun.example.org>; rel="ice-server"`, `<turn:turn.example.org>; rel="ice-server"; username="u"; credential="c"; credential-type="password"`}
	res, _ := s.do("OPTIONS", "/v1/whip", "")
	if got := res.Header.Values("Link"); res.StatusCode != 204 || res.Header.Get("Accept-Post") != "application/sdp" || strings.Join(got, "\n") != strings.Join(links, "\n") {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	// A browser with a microphone, too: what it says is not asked for.
	res, answer := s.do("POST", "/v1/whip", offer(t, audio, video), "Content-Type", "application/sdp")
	h := res.Header
	if res.StatusCode != 201 || h.Get("Content-Type") != "application/sdp" || len(h.Get("Location")) < len("/v1/whip/")+20 || h.Get("ETag") == "" || h.Get("Session") == "" || len(h.Values("Link")) != 2 {
		t.Fatalf("%d %v", res.StatusCode, h)
	}
	if first, _, _ := strings.Cut(answer[strings.Index(answer, "a=candidate"):], "\r\n"); !strings.Contains(first, " udp ") {
		t.Errorf("the first candidate, the only one that FFmpeg tries, is %s", first)
	}
	if strings.Count(answer, "a=inactive") != 1 || strings.Count(answer, "a=recvonly") != 1 || !strings.Contains(answer, "a=candidate") {
		t.Errorf("answer\n%s", answer)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		headers            []string
	}{
		{"GET", "/v1/whip", "", 405, nil},
		{"PUT", h.Get("Location"), "", 405, nil},
		{"PATCH", h.Get("Location"), "a=ice-ufrag:x", 428, []string{"Content-Type", "application/trickle-ice-sdpfrag"}},
		{"PATCH", h.Get("Location"), "a=ice-ufrag:x", 412, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", `"other"`}},
		{"PATCH", h.Get("Location"), "a=candidate:nonsense", 204, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", h.Get("ETag")}},
		{"PATCH", h.Get("Location"), "a=ice-ufrag:x", 400, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", `"*"`}},
		{"PATCH", h.Get("Location"), "nonsense", 400, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", h.Get("ETag")}},
		{"PATCH", h.Get("Location"), strings.Repeat("a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n", 65), 429, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", h.Get("ETag")}},
		{"PATCH", h.Get("Location"), strings.Repeat("a=x\r\n", 4000), 413, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", h.Get("ETag")}},
		{"PATCH", h.Get("Location"), "{}", 415, []string{"Content-Type", "application/json", "If-Match", h.Get("ETag")}},
		{"PATCH", h.Get("Location"), "a=ice-ufrag:other", 400, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", "*"}},
		{"PATCH", "/v1/whip/other", "a=ice-ufrag:x", 404, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", "*"}},
		{"DELETE", "/v1/whip/other", "", 404, nil},
		{"DELETE", h.Get("Location"), "", 200, nil},
		{"DELETE", h.Get("Location"), "", 404, nil},
		{"PATCH", h.Get("Location"), "a=ice-ufrag:x", 404, []string{"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", "*"}},
	} {
		if res, text := s.do(c.method, c.path, c.body, c.headers...); res.StatusCode != c.status {
			t.Errorf("%s %.60q: %d %s, not %d", c.method, c.body, res.StatusCode, text, c.status)
		}
	}
}

// Clients that have nothing but a video need not bundle it with anything.
func TestAnOfferWithoutABundleIsTaken(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	alone := strings.Replace(offer(t, video), "a=group:BUNDLE 0 1\r\n", "", 1)
	res, answer := s.do("POST", "/v1/whip", alone, "Content-Type", "application/sdp")
	if strings.Contains(alone, "BUNDLE") || res.StatusCode != 201 || strings.Contains(answer, "BUNDLE") || strings.Contains(answer, "m=video 0") || !strings.Contains(answer, "m=application 0") {
		t.Errorf("%d\n%s\nto\n%s", res.StatusCode, answer, alone)
	}
}

// A client that never connects has its session only for as long as a handshake may take.
func TestAHandshakeThatNeverEndsFreesTheSession(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{Handshake: 200 * ms})
	res, _ := s.do("POST", "/v1/whip", offer(t, video), "Content-Type", "application/sdp")
	if res.StatusCode != 201 {
		t.Fatal(res.Status)
	}
	s.until("the session has ended", func() bool { return s.hub.Running() == 0 && s.rtc.Connections() == 0 })
	if end := s.hub.Sessions("local")[0].End; end.Code != "upload_incomplete" || !strings.Contains(end.Message, "200ms") {
		t.Errorf("end %+v", end)
	}
}

func TestALimitOfSessionsIsTold(t *testing.T) {
	s := newHouse(t, hub.Limits{Sessions: 1}, rtc.Config{})
	s.next(s.publish(rtctest.Options{}, loopback()), "detections")
	_, err := s.dial(rtctest.Options{}, loopback())
	if e, ok := errors.AsType[*rtctest.StatusError](err); !ok || e.Status != 503 {
		t.Errorf("the second publisher: %v", err)
	}
}

// The hub that ends asks its publishers to come back, and is gone soon.
func TestAHubThatEndsSaysSo(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	s.next(pub, "detections")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.hub.Drain(ctx)
	begun := time.Now()
	if err := s.rtc.Close(); err != nil || time.Since(begun) > 5*time.Second {
		t.Errorf("closed after %v: %v", time.Since(begun), err)
	}
	s.next(pub, "goaway")
	if res, _ := s.do(http.MethodPost, "/v1/whip", offer(t, video), "Content-Type", "application/sdp"); res.StatusCode != 503 {
		t.Errorf("a new offer: %d", res.StatusCode)
	}
}

// A process that takes over has the port when its predecessor gives it up; offers wait.
func TestAPortThatAnotherProcessHoldsIsWaitedFor(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	before, err := rtc.New(rtc.Config{Hub: s.hub, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	at := before.Addr().String()
	if _, err := rtc.New(rtc.Config{Hub: s.hub, Listen: at}); err == nil {
		t.Error("the port was taken twice")
	}
	after, err := rtc.New(rtc.Config{Hub: s.hub, Listen: at, Wait: patience})
	if err != nil || after.Addr() != nil {
		t.Fatalf("%v: %v", after.Addr(), err)
	}
	answered := make(chan error, 1)
	sdp := offer(t, video)
	go func() {
		_, err := after.Offer(t.Context(), "local", rtc.Offer{SDP: sdp, Start: wire.Start{Mode: wire.Live, Media: wire.Media{Container: media.Units}}})
		answered <- err
	}()
	if err := before.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil || after.Addr().String() != at {
		t.Errorf("%v: %v", after.Addr(), err)
	}
	if err := after.Close(); err != nil {
		t.Error(err)
	}
}
