package outbox_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub/outbox"
	"detections/hub/outbox/outboxtest"
)

func always(f outboxtest.Fault) func(int) outboxtest.Fault {
	return func(int) outboxtest.Fault { return f }
}

// gaps are the times between deliveries.
func gaps(s *outboxtest.Service) []time.Duration {
	var all []time.Duration
	at := s.Deliveries()
	for i := 1; i < len(at); i++ {
		all = append(all, at[i].Sub(at[i-1]))
	}
	return all
}

func TestABrokenServiceIsAskedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{Fault: always(outboxtest.Error500)}
		r := newRig(t, s, outbox.ServiceConfig{})
		r.start()
		for id := range strings.FieldsSeq("a b c d e f g h") {
			r.add(id, strings.Repeat("d", 50))
		}
		time.Sleep(time.Hour)
		st := r.State()
		if st.Breaker == outbox.Closed || st.Sessions != 8 || st.Events != 400 || st.Oldest < 3599 || st.Error == "" {
			t.Errorf("state %+v", st)
		}
		if n := len(s.Deliveries()); n < 60 || n > 200 {
			t.Errorf("%d requests in an hour", n)
		}
		for _, gap := range gaps(s)[20:] {
			if gap < 500*time.Millisecond || gap > time.Minute {
				t.Errorf("%v between requests", gap)
			}
		}
	})
}

func TestABackServiceGetsTheBacklogAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		s := &outboxtest.Service{Fault: func(int) outboxtest.Fault {
			if down.Load() {
				return outboxtest.Reset
			}
			return outboxtest.None
		}}
		r := newRig(t, s, outbox.ServiceConfig{})
		r.start()
		for id := range strings.FieldsSeq("a b c d e f g h") {
			r.add(id, strings.Repeat("d", 999)+".")
		}
		time.Sleep(time.Hour)
		down.Store(false)
		begun := time.Now()
		r.flush()
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("the first try came after %v", took)
		}
		for id := range strings.FieldsSeq("a b c d e f g h") {
			r.stored(id, upTo(1000)...)
		}
		if st := r.State(); st.Breaker != outbox.Closed || st.Sent != 8000 || st.Retried == 0 {
			t.Errorf("state %+v", st)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, f := range []outboxtest.Fault{outboxtest.TooMany, outboxtest.Unavailable} {
		synctest.Test(t, func(t *testing.T) {
			s := &outboxtest.Service{Fault: plan(f), RetryAfter: "90"}
			r := newRig(t, s, outbox.ServiceConfig{})
			r.start()
			r.add("a", "d")
			synctest.Wait()
			r.add("b", "d") // all have to wait
			if st := r.State(); st.Breaker != outbox.Open || time.Until(*st.Retry) != 90*time.Second {
				t.Errorf("state %+v", st)
			}
			r.flush()
			if g := gaps(s); len(g) != 2 || g[0] != 90*time.Second {
				t.Errorf("requests after %v", g)
			}
		})
	}
}

func TestARefusedEventIsParkedAndTheRestGoesOn(t *testing.T) {
	for _, whole := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			good := false
			s := &outboxtest.Service{Whole: whole, Refuse: func(e outboxtest.Event) int {
				if !good && (e.Offset == 30 || e.Offset == 31 || e.Offset == 77) {
					return http.StatusUnprocessableEntity
				}
				return 0
			}}
			r := newRig(t, s, outbox.ServiceConfig{})
			r.source.add("a", strings.Repeat("d", 99)+".")
			r.start()
			synctest.Wait()
			r.flush()
			if n := len(s.Events("a")); n != 97 {
				t.Errorf("%d events are stored", n)
			}
			letters := r.Letters()
			if len(letters) != 3 || letters[0].Key != "a:e1:30" || letters[0].Status != 422 || !strings.Contains(letters[0].Reason, "not welcome") || letters[0].Attempts != 1 {
				t.Fatalf("letters %+v", letters)
			}
			if n := len(s.Deliveries()); n > 40 {
				t.Errorf("%d requests", n)
			}
			if done, err := r.Retry(t.Context(), "a:e1:30", "nonsense"); err != nil || done.Refused != 1 || len(done.Unknown) != 1 || r.Letters()[0].Attempts != 2 {
				t.Errorf("retried too early: %+v, %v", done, err)
			}
			r.start() // letters outlive the process
			good = true
			if done, err := r.Drop("a:e1:77"); err != nil || done.Dropped != 1 {
				t.Errorf("dropped %+v, %v", done, err)
			}
			if done, err := r.Retry(t.Context()); err != nil || done.Delivered != 2 || len(r.Letters()) != 0 {
				t.Errorf("retried %+v, %v", done, err)
			}
			if n := len(s.Events("a")); n != 99 {
				t.Errorf("%d events are stored", n)
			}
		})
	}
}

func TestASessionStopsWhereNoMoreDeadLettersAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{Refuse: func(e outboxtest.Event) int {
			if e.Session == "bad" && e.Offset > 2 {
				return http.StatusBadRequest
			}
			return 0
		}}
		r := newRig(t, s, outbox.ServiceConfig{})
		r.cfg.Letters = 2
		r.start()
		r.add("bad", "dddddd.")
		time.Sleep(time.Minute)
		r.add("good", "dd.")
		time.Sleep(time.Hour)
		r.stored("good", upTo(3)...)
		r.stored("bad", 1, 2)
		if st := r.State(); st.Stalled != 1 || st.Sessions != 1 || st.Letters != 2 || st.Limit != 2 || r.source.delivered("bad") != 4 {
			t.Errorf("state %+v, cursor %d", st, r.source.delivered("bad"))
		}
		if n := len(s.Deliveries()); n > 5 {
			t.Errorf("%d requests", n)
		}
		for range 3 {
			if _, err := r.Drop(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if st := r.State(); st.Sessions != 0 || st.Refused != 5 || len(r.Letters()) != 0 || r.source.delivered("bad") != 7 {
			t.Errorf("state %+v", st)
		}
	})
}

// TestAWrongURLParksNothingSoon: 404 may mean that the way to the service is wrong.
func TestAWrongURLParksNothingSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := outboxtest.NoRoute
		s := &outboxtest.Service{Fault: plan(f, f, f, f, f, f, f)}
		r := newRig(t, s, outbox.ServiceConfig{})
		r.start()
		r.add("a", "dd.")
		r.flush()
		r.stored("a", 1, 2, 3)
		s.Fault = always(f)
		r.add("b", ".")
		r.flush()
		if l := r.Letters(); len(l) != 1 || l[0].Status != http.StatusNotFound {
			t.Errorf("letters %+v", l)
		}
	})
}

func TestAGreedySessionDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{Fault: always(outboxtest.Slow), SlowBy: time.Second}
		r := newRig(t, s, outbox.ServiceConfig{})
		r.cfg.Senders = 1
		r.start()
		r.add("greedy", strings.Repeat("d", 5000))
		time.Sleep(1500 * time.Millisecond)
		r.add("b", "d")
		r.add("c", "d")
		time.Sleep(3 * time.Second)
		r.stored("b", 1)
		r.stored("c", 1)
	})
}

func TestAFailingSourceIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &outboxtest.Service{}, outbox.ServiceConfig{})
		r.source.failWith(errors.New("the disk is away"))
		r.source.add("a", "d.")
		r.start()
		r.Wake("a", 2)
		time.Sleep(time.Minute)
		if st := r.State(); !strings.Contains(st.Error, "the disk is away") || st.Sessions != 1 {
			t.Errorf("state %+v", st)
		}
		r.source.failWith(nil)
		time.Sleep(2 * time.Minute)
		r.stored("a", 1, 2)
	})
}

func TestADeletedSessionIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &outboxtest.Service{Fault: always(outboxtest.Error500)}, outbox.ServiceConfig{})
		r.start()
		r.add("a", "d")
		r.add("b", "d")
		time.Sleep(time.Minute)
		r.source.delete("a") // found out by the next turn
		r.source.delete("b")
		r.Forget("b")
		time.Sleep(10 * time.Minute)
		if st := r.State(); st.Sessions != 0 {
			t.Errorf("state %+v", st)
		}
	})
}

func TestWhatWasDeletedAtTheOpenBreakerIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		s := &outboxtest.Service{Fault: func(int) outboxtest.Fault {
			if well.Load() {
				return outboxtest.None
			}
			return outboxtest.Error500
		}}
		r := newRig(t, s, outbox.ServiceConfig{})
		r.start()
		r.add("a", "d")
		time.Sleep(10 * time.Minute) // its sender waits at the breaker, most of the time
		if st := r.State(); st.Breaker == outbox.Closed {
			t.Errorf("state %+v", st)
		}
		r.source.delete("a")
		r.Forget("a")
		well.Store(true)
		time.Sleep(10 * time.Minute)
		if n := len(s.Events("a")); n != 0 || r.State().Sessions != 0 {
			t.Errorf("%d events were sent, state %+v", n, r.State())
		}
		r.add("b", "d") // what tried whether the service is back let the next one in
		r.flush()
		r.stored("b", 1)
	})
}

// TestEmptyFramesCostNothing: they are passed in one go, and their cursor is saved now
// and then.
func TestEmptyFramesCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{}
		r := newRig(t, s, outbox.ServiceConfig{})
		r.source.add("a", strings.Repeat("e", 20_000))
		r.start()
		synctest.Wait()
		r.flush()
		if st := r.State(); len(s.Deliveries()) != 0 || st.Events != 0 || r.source.delivered("a") < 19_000 {
			t.Errorf("%d requests, state %+v, cursor %d", len(s.Deliveries()), st, r.source.delivered("a"))
		}
		reads := r.source.reads
		time.Sleep(time.Hour)
		if r.source.reads != reads {
			t.Errorf("%d reads while there was nothing to do", r.source.reads-reads)
		}
		r.add("a", "d.")
		r.flush()
		r.stored("a", 20_001, 20_002)
	})
}

func TestOverSockets(t *testing.T) {
	f := outboxtest.StoreReset
	s := &outboxtest.Service{Fault: plan(outboxtest.Reset, f, outboxtest.StoreHang, f, outboxtest.Error500)}
	server := httptest.NewServer(s)
	defer server.Close()
	r := newRig(t, s, outbox.ServiceConfig{})
	var err error
	if r.cfg.Service, err = outbox.NewAnnotations(outbox.ServiceConfig{URL: server.URL + "/", HTTP: server.Client(), Timeout: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	r.cfg.Backoff = outbox.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond}
	r.start()
	for _, id := range []string{"a", "b", "c"} {
		r.add(id, strings.Repeat("d", 300)+".")
	}
	r.flush()
	for _, id := range []string{"a", "b", "c"} {
		r.stored(id, upTo(301)...)
	}
	r.crash()
}

func TestADamagedDeadLetterIsNotIgnored(t *testing.T) {
	r := newRig(t, &outboxtest.Service{}, outbox.ServiceConfig{})
	for name, text := range map[string]string{"new-1": "half", "x.json": "half"} {
		if err := os.WriteFile(filepath.Join(r.cfg.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := outbox.New(r.cfg); err == nil || !strings.Contains(err.Error(), "x.json") {
		t.Errorf("error %v", err)
	}
	left, err := filepath.Glob(filepath.Join(r.cfg.Dir, "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
