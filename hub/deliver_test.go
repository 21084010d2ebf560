package hub_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/hub/outbox/outboxtest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// weather is what goes wrong with deliveries, until it changes.
type weather struct{ atomic.Int32 }

func (w *weather) set(f outboxtest.Fault) { w.Store(int32(f)) }

// under makes an Annotations service.
func under(w *weather) *outboxtest.Service {
	return &outboxtest.Service{Fault: func(int) outboxtest.Fault { return outboxtest.Fault(w.Load()) }}
}

// flush waits until everything is delivered. A reader may see an event a moment
// before the outbox knows of it.
func (r *rig) flush() {
	r.t.Helper()
	synctest.Wait()
	must(r.t, r.Outbox().Flush(r.t.Context()))
}

// delivered checks that the service has those of a session's events that it wants,
// once each and in order.
func (r *rig) delivered(c client, events []wire.Event) {
	r.t.Helper()
	s := r.options.service
	var want, got []string
	for _, e := range events {
		if e.Type == wire.TypeEnd || e.Type == wire.TypeDetections && !e.Empty {
			want = append(want, fmt.Sprintf("%s:%s:%d", c.Started.Session, c.Started.Epoch, e.Offset))
		}
	}
	for _, e := range s.Events(c.Started.Session) {
		got = append(got, e.Key)
	}
	if order := s.Order(c.Started.Session); !slices.Equal(got, want) || !slices.IsSorted(order) {
		r.t.Errorf("delivered %v\nwant %v\nin the order %v", got, want, order)
	}
	for _, v := range s.Violations() {
		r.t.Error("violation:", v)
	}
}

func TestEventsAreDeliveredWithTheirMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := under(new(weather))
		r := open(t, options{service: s})
		c := r.run(wire.Start{Media: wire.Media{ID: "m-1", Name: "a.mp4"}}, video(300))
		events := c.read()
		r.flush()
		r.delivered(c, events)
		stored, end := s.Events(c.Started.Session), c.end(events)
		for _, e := range stored {
			if e.MediaID != "m-1" {
				t.Errorf("event %d has the media %q", e.Offset, e.MediaID)
			}
		}
		if last := stored[len(stored)-1]; last.Type != "end" || last.MediaSHA256 != end.MediaSHA256 || end.MediaSHA256 == "" {
			t.Errorf("last is %+v, the end is %+v", last, end)
		}
		r.close()
	})
}

// What a client declares is a promise; what is delivered is the media's own.
func TestAHashIsDeliveredOnlyOnceItWasComputed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := under(new(weather))
		r := open(t, options{service: s})
		c := r.start(wire.Start{Media: wire.Media{SHA256: strings.Repeat("ab", 32)}})
		c.upload(video(5))
		events := c.read()
		r.flush()
		r.delivered(c, events)
		for _, e := range s.Events(c.Started.Session) {
			if sum := e.MediaSHA256; sum != "" && sum != c.end(events).MediaSHA256 {
				t.Errorf("event %d has the hash %s", e.Offset, sum)
			}
		}
		r.close()
	})
}

func TestWhatIsNotDeliveredOutlivesItsRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w weather
		w.set(outboxtest.Error500)
		r := open(t, options{service: under(&w), limits: hub.Limits{Retention: 10 * time.Minute, Kept: 2}})
		var all []client
		var events [][]wire.Event
		for range 4 {
			c := r.run(wire.Start{}, video(3))
			all, events = append(all, c), append(events, c.read())
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		for i, c := range all {
			if !r.known(c) {
				t.Errorf("session %d is gone, and was never delivered", i)
			}
		}
		w.set(outboxtest.None)
		time.Sleep(3 * time.Minute) // to try again, and to look what is delivered
		for i, c := range all {
			r.delivered(c, events[i])
			if r.known(c) {
				t.Errorf("session %d is delivered, and still there", i)
			}
		}
		r.close()
	})
}

func TestWhatIsNotDeliveredMakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w weather
		w.set(outboxtest.Hang)
		r := open(t, options{service: under(&w), limits: hub.Limits{Disk: 2000}})
		c := r.run(wire.Start{}, video(20)) // its results take more than the quota
		events := c.read()
		time.Sleep(10 * time.Minute)
		if _, err := r.Start(t.Context(), "me", wire.Start{}); code(err) != wire.StorageFull || !r.known(c) {
			t.Errorf("start: %v; undelivered results are kept: %v", err, r.known(c))
		}
		w.set(outboxtest.None)
		time.Sleep(3 * time.Minute)
		r.delivered(c, events)
		r.run(wire.Start{}, "K").read()
		if r.known(c) {
			t.Error("delivered results make no room")
		}
		r.close()
	})
}

func TestDeadLettersHoldNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{Refuse: func(outboxtest.Event) int { return 422 }}
		r := open(t, options{service: s, limits: hub.Limits{Retention: time.Minute}})
		c := r.run(wire.Start{}, video(3))
		c.read()
		time.Sleep(2 * time.Minute)
		if n := len(r.Outbox().Letters()); n != 4 || r.known(c) {
			t.Errorf("%d dead letters; the session is kept: %v", n, r.known(c))
		}
		r.close()
	})
}

func TestADeletedSessionIsNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w weather
		w.set(outboxtest.Unavailable)
		r := open(t, options{service: under(&w)})
		c := r.run(wire.Start{}, video(3))
		c.read()
		synctest.Wait() // no request is under way
		must(t, r.Delete(t.Context(), "me", c.Started.Session))
		if st := r.Outbox().State(); st.Sessions != 0 || r.stored() != 0 {
			t.Errorf("outbox %+v, %d timelines", st, r.stored())
		}
		w.set(outboxtest.None)
		time.Sleep(time.Hour)
		if n := len(r.options.service.Events(c.Started.Session)); n != 0 {
			t.Errorf("%d events were delivered", n)
		}
		r.close()
	})
}

func TestARestartedHubDeliversTheRestAndNothingTwice(t *testing.T) {
	afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
		var w weather
		r := open(t, options{service: under(&w), limits: hub.Limits{Retention: time.Hour}, decoders: sessiontest.Config{Cost: 10 * ms}})
		ended, cut := r.start(wire.Start{}), r.start(wire.Start{})
		ended.upload(video(50))
		cut.send(video(150))
		for _, f := range []outboxtest.Fault{outboxtest.None, outboxtest.StoreHang, outboxtest.Error500, outboxtest.StoreReset} {
			w.set(f)
			time.Sleep(333 * ms)
			r = again(r)
		}
		w.set(outboxtest.None)
		ended.Reader.Close()
		cut.Reader.Close()
		ended = client{r.watch(wire.Watch{Session: ended.Started.Session}).Attachment, t}
		cut = r.resume(cut, 0)
		cut.upload(video(50))
		a, b := ended.read(), cut.read()
		r.flush()
		r.delivered(ended, a)
		r.delivered(cut, b)
		if n := len(r.options.service.Events(cut.Started.Session)); n != 201 {
			t.Errorf("%d events of 200 frames and the end", n)
		}
		again(r).close()
	})
}

func TestARestartedHubKnowsTheHashOfWhatHasEndedAndWhatIsDelivered(t *testing.T) {
	afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
		var w weather
		w.set(outboxtest.Error500)
		r := open(t, options{service: under(&w), limits: hub.Limits{Retention: time.Hour}})
		c := r.run(wire.Start{}, video(250)) // more than one request
		events := c.read()
		synctest.Wait()
		r = again(r)
		w.set(outboxtest.None)
		synctest.Wait()
		r.flush()
		r.delivered(c, events)
		for _, e := range r.options.service.Events(c.Started.Session) {
			if e.MediaSHA256 != c.end(events).MediaSHA256 {
				t.Errorf("event %d has the hash %q", e.Offset, e.MediaSHA256)
			}
		}
		r = again(r)
		time.Sleep(time.Hour + time.Minute)
		if n := len(r.options.service.Deliveries()); r.known(c) || n > 15 {
			t.Errorf("it is kept: %v, after %d requests", r.known(c), n)
		}
		r.close()
	})
}

// The next process waits for the data directory; the service may take its time.
func TestAHubThatStopsDoesNotWaitForTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w weather
		w.set(outboxtest.Hang)
		r := open(t, options{service: under(&w)})
		r.run(wire.Start{}, video(3)).read()
		time.Sleep(time.Second)
		begun := time.Now()
		r.close()
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}
