package hub_test

import (
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// All sessions of a client share its frames; another client has its own.
func TestFilesWaitForTheFramesOfTheirClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{FrameRate: 10}})
		begun := time.Now()
		a, b := r.start(wire.Start{}), r.start(wire.Start{})
		a.upload(video(30))
		b.upload(video(30))
		for _, c := range []client{a, b} {
			if end := c.end(c.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 30 {
				t.Errorf("end %+v", end)
			}
		}
		if took := time.Since(begun); took < 5*time.Second || took > 5100*ms { // 10 at once, and then 10 a second
			t.Errorf("60 frames took %v", took)
		}
		begun = time.Now()
		you, err := r.Start(t.Context(), "you", wire.Start{})
		must(t, err)
		client{you, t}.upload(video(10))
		client{you, t}.read()
		if took := time.Since(begun); took > 100*ms {
			t.Errorf("10 frames of somebody else took %v", took)
		}
		r.close()
	})
}

func TestLiveFramesBeyondThoseOfTheirClientAreDroppedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{FrameRate: 10}, decoders: sessiontest.Config{Cost: 40 * ms}})
		c := r.start(wire.Start{Mode: wire.Live})
		c.upload(video(250)) // 10 s
		end := c.end(c.read())
		if a := end.Accounting; !balanced(a) || a.Inferred != 109 || a.Dropped["rate_limited"] != 141 || end.Outcome != wire.Done {
			t.Errorf("end %+v", end)
		}
		r.close()
	})
}

// However many videos a client sends, and however dear they are to decode, its decoders
// have so many cores in the mean. Another client has its own.
func TestTheDecodersOfAClientShareTheirCores(t *testing.T) {
	for _, mode := range []wire.Mode{wire.File, wire.Live} {
		synctest.Test(t, func(t *testing.T) {
			r := open(t, options{limits: hub.Limits{DecodeCores: 1.5}, decoders: sessiontest.Config{Cost: 20 * ms}})
			for range 4 { // on cores of their own they take 4 s for each second
				r.start(wire.Start{Mode: mode}).upload(video(1000))
			}
			you, err := r.Start(t.Context(), "you", wire.Start{Mode: mode})
			must(t, err)
			client{you, t}.upload(video(1000))
			time.Sleep(10 * time.Second)
			decoded := map[string]int64{}
			for _, who := range []string{"me", "you"} {
				for _, st := range r.Sessions(who) {
					decoded[who] += st.Accounting.Decoded
				}
			}
			// 1.5 s are there at the beginning, and what was begun is finished.
			if mine := decoded["me"]; mine < 800 || mine > 850 || decoded["you"] < 495 {
				t.Errorf("%s: %v pictures in 10 s", mode, decoded)
			}
			r.close()
		})
	}
}

func TestPicturesBeyondTheFramesOfTheirClientAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{FrameRate: 2}})
		<-r.loaded
		picture := func(who string) wire.Code {
			_, err := r.Picture(t.Context(), who, strings.NewReader("K"), nil)
			return code(err)
		}
		for n, want := range []wire.Code{"", "", wire.Quota} {
			if got := picture("me"); got != want {
				t.Errorf("picture %d: %q", n, got)
			}
		}
		if got := picture("you"); got != "" {
			t.Errorf("somebody else's: %q", got)
		}
		time.Sleep(time.Second)
		if got := picture("me"); got != "" {
			t.Errorf("a second later: %q", got)
		}
		r.close()
	})
}

// A door that reads is not read from; a WebSocket has no acknowledgement.
func TestBytesOfAClientWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const kB = 1 << 10
		r := open(t, options{limits: hub.Limits{ByteRate: 64 * kB}})
		c := r.start(wire.Start{Sample: &wire.Sample{Every: 9 * kB}})
		begun := time.Now()
		if _, err := io.CopyBuffer(c.Feeder.Paced(), strings.NewReader(video(320*kB)), make([]byte, 16*kB)); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun).Round(10 * ms); took != 4*time.Second { // 64 kB at once
			t.Errorf("320 kB took %v", took)
		}
		acked := func() int64 { synctest.Wait(); return c.Session.Status().Acked }
		for range 16 {
			c.send(strings.Repeat("p", 16*kB)) // read in any case
		}
		if st := c.Session.Status(); st.Received != 576*kB || acked() > 384*kB {
			t.Errorf("%d bytes received, %d acknowledged", st.Received, acked())
		}
		for n := range 4 {
			time.Sleep(time.Second)
			if got, want := acked(), int64(384+64*n)*kB; got < want-64*kB || got > want {
				t.Errorf("after %d s %d bytes are acknowledged, expected up to %d", n+1, got, want)
			}
		}
		time.Sleep(time.Second)
		if got := acked(); got != 576*kB {
			t.Errorf("in the end %d bytes are acknowledged", got)
		}
		c.Feeder.EOF()
		if end := c.end(c.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 64 {
			t.Errorf("end %+v", end)
		}
		r.close()
	})
}

// Whoever waits can be cancelled at once.
func TestCancelDoesNotWaitForBytesOrFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{ByteRate: hub.MinByteRate, FrameRate: hub.MinFrameRate}})
		c := r.start(wire.Start{})
		written := make(chan struct{})
		go func() {
			defer close(written)
			_, _ = c.Feeder.Paced().Write([]byte(video(100 << 10)))
		}()
		time.Sleep(time.Second)
		begun := time.Now()
		c.Session.Cancel()
		end := c.end(c.read())
		<-written
		if took := time.Since(begun); took > 0 || end.Outcome != wire.Cancelled || !balanced(end.Accounting) {
			t.Errorf("took %v, end %+v", took, end)
		}
		r.close()
	})
}

func TestAbsurdRatesAreRefused(t *testing.T) {
	for _, l := range []hub.Limits{{FrameRate: -1}, {FrameRate: math.NaN()}, {FrameRate: 1e9}, {ByteRate: -1}, {ByteRate: 1}, {ByteRate: math.MaxInt64}, {DecodeCores: -1}, {DecodeCores: math.NaN()}, {DecodeCores: 1e6}} {
		if h, err := hub.New(hub.Config{Dir: t.TempDir(), Limits: l}); err == nil {
			t.Errorf("%+v was accepted", l)
			h.Close()
		}
	}
	if session.NewPace(0, 0, 0).Allow() != true || !session.NewPace(1, 1, 1).Rested() {
		t.Error("a fresh Pace is not rested")
	}
}
