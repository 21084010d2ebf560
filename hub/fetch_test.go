package hub_test

import (
	"context"
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

// cinema is an Annotations service with a film of n frames of 1000 bytes under "film".
func cinema(n int) *outboxtest.Service {
	s := &outboxtest.Service{}
	s.PutMedia("film", outboxtest.Media{Name: "a.mp4", ETag: `"1"`, Body: []byte(strings.Repeat("K", n*1000))})
	return s
}

var kilo = sessiontest.Config{Unit: 1000}

// fetch begins a session on the film.
func (r *rig) fetch(m wire.Start) client {
	r.t.Helper()
	m.Media.ID = "film"
	a, err := r.Fetch(r.t.Context(), "me", m)
	must(r.t, err)
	return client{a, r.t}
}

// fetchError is why none begins.
func (r *rig) fetchError(principal, id string) error {
	r.t.Helper()
	a, err := r.Fetch(r.t.Context(), principal, wire.Start{Media: wire.Media{ID: id}})
	if err == nil {
		a.Reader.Close()
	}
	return err
}

func TestMediaIsFetchedAcrossBreaksAndRestarts(t *testing.T) {
	afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
		s := cinema(60)
		s.Cut = func(n int) int { return 700 * (n % 9) }
		r := open(t, options{service: s, decoders: kilo})
		whole := r.run(wire.Start{}, strings.Repeat("K", 60_000))
		want := plain(t, whole.read())
		c := r.fetch(wire.Start{})
		if c.Started.Token != "" || c.Feeder != nil {
			t.Errorf("who only reads is given %+v", c.Started)
		}
		c.Reader.Close()
		for range 4 {
			time.Sleep(1500 * ms)
			r = again(r)
		}
		w := r.watch(wire.Watch{Session: c.Started.Session})
		if got := plain(t, w.read()); !slices.Equal(got, want) {
			t.Errorf("fetched:\n%s\nuploaded:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		r.flush()
		if e := s.Events(c.Started.Session); len(e) != 61 || e[0].MediaID != "film" {
			t.Errorf("%d events are delivered, %+v", len(e), e[0])
		}
		r.close()
	})
}

// A service that is away is waited for as long as any other feeder.
func TestAFetchWaitsForTheServiceAsLongAsForAClient(t *testing.T) {
	for name, c := range map[string]struct {
		away   time.Duration
		want   wire.Outcome
		code   wire.Code
		frames int64
	}{"back in time": {8 * time.Minute, wire.Done, "", 9}, "away too long": {12 * time.Minute, wire.Failed, wire.UploadIncomplete, 5}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := cinema(9)
				s.Cut = func(n int) int { return []int{5500, -1}[min(n, 1)] }
				begun := time.Now()
				s.MediaFault = func(n int) outboxtest.Fault {
					if n > 0 && time.Since(begun) < c.away {
						return outboxtest.Error500
					}
					return outboxtest.None
				}
				r := open(t, options{service: s, decoders: kilo})
				f := r.fetch(wire.Start{})
				events := f.read()
				end := f.end(events)
				if end.Outcome != c.want || end.Code != c.code || end.Accounting.Inferred != c.frames {
					t.Errorf("end %+v", end)
				}
				r.close()
			})
		})
	}
}

// twoFilms is a film that breaks off in the sixth frame, and what is there afterwards.
func twoFilms(first, then outboxtest.Media) *outboxtest.Service {
	s := &outboxtest.Service{}
	first.Body = []byte(strings.Repeat("K", 9000))
	s.PutMedia("film", first)
	s.Cut = func(n int) int {
		if n == 0 {
			return 5500
		}
		return -1
	}
	s.MediaFault = func(n int) outboxtest.Fault {
		if n == 1 {
			s.PutMedia("film", then)
			return outboxtest.Error500
		}
		return outboxtest.None
	}
	return s
}

func TestMediaThatChangesMidwayEndsTheFetch(t *testing.T) {
	body := func(n int) []byte { return []byte(strings.Repeat("p", n)) }
	for name, films := range map[string][2]outboxtest.Media{
		"another version":          {{ETag: `"1"`}, {ETag: `"2"`, Body: body(9000)}},
		"another size":             {{}, {Body: body(8000)}},
		"nothing where it was":     {{}, {Body: body(100)}},
		"a version without ranges": {{ETag: `"1"`}, {ETag: `"2"`, Body: body(9000), Whole: true}},
	} {
		t.Run(name, func(t *testing.T) {
			afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
				r := open(t, options{service: twoFilms(films[0], films[1]), decoders: kilo})
				c := r.fetch(wire.Start{})
				c.Reader.Close()
				synctest.Wait() // it waits to try again
				r = again(r)
				w := r.watch(wire.Watch{Session: c.Started.Session})
				end := w.end(w.read())
				if end.Code != wire.UploadIncomplete || !strings.Contains(end.Message, "changed") || end.Accounting.Inferred != 5 {
					t.Errorf("end %+v", end)
				}
				r.close()
			})
		})
	}
}

func TestMediaIsFetchedOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cinema(9)
		s.MediaFault = func(n int) outboxtest.Fault {
			if n == 0 {
				return outboxtest.Slow
			}
			return outboxtest.None
		}
		s.SlowBy, s.Cut = time.Second, func(int) int { return 5000 }
		r := open(t, options{service: s, decoders: kilo})
		begun := make(chan client)
		go func() { begun <- r.fetch(wire.Start{Key: "k"}) }()
		synctest.Wait()
		if err := r.fetchError("me", "film"); code(err) != wire.Conflict {
			t.Errorf("while it begins: %v", err)
		}
		c := <-begun
		if err := r.fetchError("me", "film"); code(err) != wire.Conflict || !strings.Contains(err.Error(), c.Started.Session) {
			t.Errorf("while it runs: %v", err)
		}
		same := r.fetch(wire.Start{Key: "k"})
		if same.Started.Session != c.Started.Session {
			t.Error("the same key begins another session")
		}
		same.Reader.Close()
		must(t, r.fetchError("you", "film"))
		c.read()
		must(t, r.fetchError("me", "film"))
		r.close()
	})
}

func TestFetchesThatCannotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cinema(9)
		var fault atomic.Int32
		var locked atomic.Bool
		s.MediaFault = func(int) outboxtest.Fault { return outboxtest.Fault(fault.Load()) }
		s.Tokens = func(string) bool { return !locked.Load() }
		r := open(t, options{service: s, decoders: kilo, limits: hub.Limits{Bytes: 8000}})
		if err := r.fetchError("me", "film"); code(err) != wire.TooLarge {
			t.Errorf("9000 bytes of at most 8000: %v", err)
		}
		if err := r.fetchError("me", "other"); code(err) != wire.UnknownMedia {
			t.Errorf("no such media: %v", err)
		}
		if _, err := r.Fetch(t.Context(), "me", wire.Start{Mode: wire.Live, Media: wire.Media{ID: "film"}}); code(err) != wire.BadMessage {
			t.Errorf("live: %v", err)
		}
		fault.Store(int32(outboxtest.Hang))
		begun := time.Now()
		if err := r.fetchError("me", "film"); code(err) != wire.Overloaded || time.Since(begun) != 15*time.Second {
			t.Errorf("no answer: %v after %v", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Fetch(ctx, "me", wire.Start{Media: wire.Media{ID: "film"}}); ctx.Err() == nil || err == nil {
			t.Errorf("a client that left: %v", err)
		}
		locked.Store(true)
		if err := r.fetchError("me", "film"); code(err) != wire.Forbidden {
			t.Errorf("no right: %v", err)
		}
		if n := r.stored(); n != 0 || r.Running() != 0 {
			t.Errorf("%d timelines, %d sessions", n, r.Running())
		}
		r.close()
	})
}

func TestACancelledFetchStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cinema(9)
		s.Cut = func(int) int { return 0 }
		r := open(t, options{service: s, decoders: kilo})
		c := r.fetch(wire.Start{})
		time.Sleep(time.Second)
		_, err := r.Cancel("me", c.Started.Session)
		must(t, err)
		if end := c.end(c.read()); end.Outcome != wire.Cancelled {
			t.Errorf("end %+v", end)
		}
		n := s.Fetches()
		time.Sleep(time.Hour)
		if s.Fetches() != n {
			t.Errorf("%d requests after the end", s.Fetches()-n)
		}
		r.close()
	})
}
