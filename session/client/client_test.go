package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"detections/hub"
	"detections/infer/infertest"
	"detections/session/client"
	"detections/session/wire"
)

func TestEveryEventComesOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	s := detect(t, t.Context(), r.client, bytes.NewReader(video(50)), wire.Start{Sample: &wire.Sample{Every: 2}})
	l := collect(s)
	if err := s.Err(); err != nil || !l.once(27) || l.lost != 0 || l.end.Outcome != wire.Done || l.end.Accounting.Skipped != 25 {
		t.Errorf("err %v, %+v", err, l)
	}
	if sent, _ := s.Uploaded(); sent != 50*piece || s.Started().Session == "" || s.Started().Model == nil {
		t.Errorf("sent %d, started %+v", sent, s.Started())
	}
}

func TestConnectionsThatAreCutLoseNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	p := newProxy(t, r.url, 300<<10)
	c := newClient(t, p.url(), client.Config{Buffer: 100_000})
	media := video(2000) // 2 MB, cut every 300 KB
	s := detect(t, t.Context(), c, onlyReader{bytes.NewReader(media)}, wire.Start{Media: wire.Media{Size: int64(len(media))}})
	l := collect(s)
	if err := s.Err(); err != nil || !l.once(2002) || l.lost < 6 || len(l.resumed) < 6 || l.end.Bytes != int64(len(media)) || l.end.MediaSHA256 != fmt.Sprintf("%x", sha256.Sum256(media)) {
		t.Fatalf("err %v, %d events, lost %d times, resumed %d times, end %+v", err, len(l.offsets), l.lost, len(l.resumed), l.end)
	}
	for i, f := range l.frames {
		if f != int64(i) {
			t.Fatalf("frame %d is %d", i, f)
		}
	}
	if p.connections() > 3*l.lost+1 {
		t.Errorf("%d connections for %d losses", p.connections(), l.lost)
	}
}

// onlyReader hides that a reader can do more.
type onlyReader struct{ io.Reader }

func TestNoMoreThanTheWindowIsUnacknowledged(t *testing.T) {
	t.Parallel()
	// The hub closes with quota if the window is overrun.
	r := newRig(t, options{limits: hub.Limits{Window: 64 << 10, Message: 8 << 10}})
	s := detect(t, t.Context(), r.client, bytes.NewReader(video(800)), wire.Start{})
	l := collect(s)
	if err := s.Err(); err != nil || !l.once(802) || l.lost != 0 {
		t.Errorf("err %v, %d events, lost %d times", err, len(l.offsets), l.lost)
	}
}

func TestEndOfTheContextKeepsWhatWasFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	media, w := io.Pipe()
	s := detect(t, ctx, r.client, media, wire.Start{})
	go pour(w, video(10)) // and nothing after it
	var l journal
	for e := range s.Events() {
		if l.add(e); len(l.frames) == 10 {
			cancel(errBroken)
		}
	}
	if err := s.Err(); !errors.Is(err, errBroken) || !l.once(12) || l.end.Outcome != wire.Cancelled {
		t.Errorf("err %v, %+v", err, l)
	}
}

func TestCloseStopsTheSessionOnTheHub(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{cost: time.Millisecond})
	media, _ := io.Pipe() // Close ends the Read that waits
	s := detect(t, t.Context(), r.client, media, wire.Start{})
	s.Close()
	s.Close()
	if n := r.hub.Running(); n != 0 {
		t.Errorf("%d sessions run", n)
	}
	slow := detect(t, t.Context(), r.client, bytes.NewReader(video(5000)), wire.Start{})
	for range slow.Events() {
		break
	}
	slow.Close()
}

func TestMediaThatCannotBeReadIsNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	media := io.MultiReader(bytes.NewReader(video(3)), iotest.ErrReader(errBroken))
	s := detect(t, t.Context(), r.client, media, wire.Start{})
	l := collect(s)
	if err := s.Err(); !errors.Is(err, errBroken) || !errors.Is(err, client.ErrMedia) || l.end == nil || l.end.Outcome != wire.Cancelled {
		t.Errorf("err %v, %+v", err, l)
	}
}

func TestFailuresOfTheHubAreTyped(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	for what, want := range map[string]struct {
		media string
		start wire.Start
		code  wire.Code
	}{
		"text":      {"hello" + strings.Repeat("-", piece), wire.Start{}, wire.UnsupportedMedia},
		"nothing":   {"", wire.Start{}, wire.UnsupportedMedia},
		"hash":      {string(video(1)), wire.Start{Media: wire.Media{SHA256: strings.Repeat("0", 64)}}, wire.HashMismatch},
		"no label":  {string(video(1)), wire.Start{Detect: &wire.Detect{Labels: []string{"unicorn"}}}, wire.BadMessage},
		"a crash":   {string(video(2)) + "!" + strings.Repeat("-", piece), wire.Start{}, wire.DecodeFailed},
		"too large": {string(video(20_000)), wire.Start{}, wire.TooLarge},
	} {
		if what == "too large" {
			r = newRig(t, options{limits: hub.Limits{Bytes: 100 * piece, Linger: time.Millisecond}})
		}
		s := detect(t, t.Context(), r.client, strings.NewReader(want.media), want.start)
		l := collect(s)
		if e, ok := errors.AsType[*wire.Error](s.Err()); !ok || e.Code != want.code || e.Message == "" || l.lost > 0 {
			t.Errorf("%s: %v, %+v", what, s.Err(), l)
		}
	}
	if _, err := r.client.Detect(t.Context(), strings.NewReader(""), wire.Start{Mode: "fast"}); err == nil {
		t.Error("a start that makes no sense was taken")
	}
}

func TestBusyHubIsAskedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{limits: hub.Limits{Sessions: 1}})
	media, w := io.Pipe()
	first := detect(t, t.Context(), r.client, media, wire.Start{})
	go func() {
		time.Sleep(50 * time.Millisecond)
		w.Close()
	}()
	second := detect(t, t.Context(), r.client, bytes.NewReader(video(2)), wire.Start{})
	if l := collect(second); !l.once(4) {
		t.Errorf("%v %+v", second.Err(), l)
	}
	collect(first)
	impatient := newClient(t, r.url, client.Config{Patience: time.Millisecond})
	media, w = io.Pipe()
	third := detect(t, t.Context(), r.client, media, wire.Start{})
	_, err := impatient.Detect(t.Context(), bytes.NewReader(video(2)), wire.Start{})
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.Overloaded {
		t.Errorf("err %v", err)
	}
	w.Close()
	collect(third)
}

func TestHubThatIsNotThere(t *testing.T) {
	t.Parallel()
	c := newClient(t, "http://127.0.0.1:1", client.Config{})
	if _, err := c.Detect(t.Context(), strings.NewReader(""), wire.Start{}); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("err %v", err)
	}
	if _, err := c.Health(t.Context()); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("err %v", err)
	}
	for _, url := range []string{"ftp://x", "http://", "://", "http://a b"} {
		if _, err := client.New(client.Config{URL: url}); err == nil {
			t.Errorf("%q was taken", url)
		}
	}
}

func TestServerThatIsNoHub(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.FileServer(http.Dir(t.TempDir())))
	t.Cleanup(server.Close)
	c := newClient(t, server.URL, client.Config{})
	if _, err := c.Detect(t.Context(), strings.NewReader(""), wire.Start{}); !errors.Is(err, client.ErrNotAHub) {
		t.Errorf("err %v", err)
	}
	if _, err := c.Health(t.Context()); !errors.Is(err, client.ErrNotAHub) {
		t.Errorf("err %v", err)
	}
	if _, err := c.Picture(t.Context(), strings.NewReader("x"), nil); !errors.Is(err, client.ErrNotAHub) {
		t.Errorf("err %v", err)
	}
}

func TestKnownMediaIsNotSent(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	first := collect(detect(t, t.Context(), r.client, bytes.NewReader(video(9)), wire.Start{}))
	sum := sha256.Sum256(video(9))
	s := detect(t, t.Context(), r.client, bytes.NewReader(video(9)), wire.Start{Media: wire.Media{SHA256: hex.EncodeToString(sum[:])}})
	got := collect(s)
	if err := s.Err(); err != nil || !s.Started().Known || !got.once(11) || !slices.Equal(got.frames, first.frames) {
		t.Errorf("%v, known: %v, %+v", err, s.Started().Known, got)
	}
	if n := len(r.hub.Sessions("local")); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	h, err := r.client.Health(t.Context())
	if err != nil || !h.Ready || h.AIAvailability != "ENABLED" || h.Version != "test" {
		t.Errorf("%+v, %v", h, err)
	}
	r.hub.BeginDrain()
	h, err = r.client.Health(t.Context())
	if err != nil || h.Ready || !h.Draining || len(h.NotReady) == 0 {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestPicture(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	p, err := r.client.Picture(t.Context(), bytes.NewReader(video(1)), &wire.Detect{Threshold: new(0.3)})
	if err != nil || p.Width != 2*infertest.Side {
		t.Errorf("%+v, %v", p, err)
	}
	_, err = r.client.Picture(t.Context(), strings.NewReader("no picture"+strings.Repeat(".", piece)), nil)
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.UnsupportedMedia {
		t.Errorf("err %v", err)
	}
	_, err = r.client.Picture(t.Context(), bytes.NewReader(video(1)), &wire.Detect{Labels: []string{"unicorn"}})
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.BadMessage {
		t.Errorf("err %v", err)
	}
}
