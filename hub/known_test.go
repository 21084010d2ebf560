package hub_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/hub/outbox/outboxtest"
	"detections/infer/infertest"
	"detections/session/wire"
)

func sumOf(media string) string {
	sum := sha256.Sum256([]byte(media))
	return hex.EncodeToString(sum[:])
}

// ask starts a session that declares the hash of a video and sends nothing. It says
// whether the results were known, and of which session.
func (r *rig) ask(principal, video string, m wire.Start) (session string, known bool) {
	r.t.Helper()
	m.Media.SHA256 = sumOf(video)
	a, err := r.Start(r.t.Context(), principal, m)
	must(r.t, err)
	a.Reader.Close()
	if !a.Started.Known {
		a.Session.Cancel()
		<-a.Session.Done()
	}
	return a.Started.Session, a.Started.Known
}

func TestKnownMediaIsAnsweredWithoutAnUpload(t *testing.T) {
	afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
		r := open(t, options{})
		m := wire.Start{Sample: &wire.Sample{Every: 2}, Detect: &wire.Detect{Labels: []string{"red"}}}
		first := r.run(m, video(9))
		want := plain(t, first.read())
		synctest.Wait()
		for range 2 {
			m.Media.SHA256, m.Media.Size = strings.ToUpper(sumOf(video(9))), 9
			c := r.start(m)
			if s := c.Started; !s.Known || s.Session != first.Started.Session || s.Bytes != 9 || s.Offset != 0 || s.Token == "" {
				t.Errorf("started %+v", s)
			}
			c.upload(video(9)) // who sends it nevertheless disturbs nobody
			if got := plain(t, c.read()); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			r = again(r)
			synctest.Wait() // the engine loads
		}
		r.close()
	})
}

func TestResultsAreKnownOnlyForTheSameQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		first := r.run(wire.Start{}, video(9))
		first.read()
		mine := r.run(wire.Start{Key: "mine"}, video(5))
		mine.read()
		synctest.Wait()
		half := 0.5
		for name, m := range map[string]wire.Start{
			"sampled":                       {Sample: &wire.Sample{Every: 2}},
			"of other labels":               {Detect: &wire.Detect{Labels: []string{"red"}}},
			"more certain":                  {Detect: &wire.Detect{Threshold: &half}},
			"live":                          {Mode: wire.Live},
			"as another form":               {Media: wire.Media{Container: "mjpeg"}},
			"with a key that has a session": {Key: "mine"},
		} {
			if id, known := r.ask("me", video(9), m); known {
				t.Errorf("%s: answered from session %s", name, id)
			}
		}
		if _, known := r.ask("you", video(9), wire.Start{}); known {
			t.Error("another principal's results are given away")
		}
		if _, known := r.ask("me", video(8), wire.Start{}); known {
			t.Error("another video's results are given")
		}
		threshold := 0.45
		for name, m := range map[string]wire.Start{
			"defaults in words": {Mode: wire.File, Sample: &wire.Sample{All: true}, Detect: &wire.Detect{Threshold: &threshold}},
			"another name":      {Media: wire.Media{Name: "b.mp4", ID: "m"}, Results: wire.NonEmpty, Key: "new"},
		} {
			if id, known := r.ask("me", video(9), m); !known || id != first.Started.Session {
				t.Errorf("%s: not known", name)
			}
		}
		r.close()
	})
}

func TestResultsThatDependOnMoreAreNotKnown(t *testing.T) {
	const film = "Kpppppppp"
	for name, run := range map[string]func(r *rig){
		"configured midway": func(r *rig) {
			c := r.start(wire.Start{})
			c.send(film[:5])
			synctest.Wait()
			must(r.t, c.Session.Configure(&wire.Configure{Sample: &wire.Sample{Every: 2}}))
			c.upload(film[5:])
			c.read()
		},
		"configured there and back": func(r *rig) {
			c := r.start(wire.Start{})
			for i, s := range []*wire.Sample{{Every: 2}, {All: true}} {
				c.send(film[3*i : 3*i+3])
				synctest.Wait()
				must(r.t, c.Session.Configure(&wire.Configure{Sample: s}))
			}
			c.upload(film[6:])
			c.read()
		},
		"cancelled": func(r *rig) {
			c := r.start(wire.Start{})
			c.upload(film)
			time.Sleep(35 * ms)
			c.Session.Cancel()
			c.read()
		},
		"cut off": func(r *rig) {
			c := r.start(wire.Start{})
			c.send(film)
			c.Feeder.CutOff("test")
			c.read()
		},
		"declared as something else": func(r *rig) {
			r.run(wire.Start{Media: wire.Media{SHA256: sumOf("other")}}, film).read()
		},
		"live": func(r *rig) { r.run(wire.Start{Mode: wire.Live}, film).read() },
		"deleted": func(r *rig) {
			c := r.run(wire.Start{}, film)
			c.read()
			must(r.t, r.Delete(r.t.Context(), "me", c.Started.Session))
		},
		"forgotten": func(r *rig) {
			r.run(wire.Start{}, film).read()
			time.Sleep(2 * time.Hour)
		},
		"still being made": func(r *rig) {
			c := r.start(wire.Start{})
			c.upload(film)
			c.Reader.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 1}})
				run(r)
				if id, known := r.ask("me", film, wire.Start{}); known {
					t.Errorf("answered from session %s", id)
				}
				r.close()
			})
		})
	}
}

func TestResultsOfAFailingEngineAreNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		r := open(t, options{engine: infertest.Config{MaxBatch: 1, Before: func(*infertest.Engine, int) error {
			if runs++; runs < 4 {
				return errors.New("test")
			}
			return nil
		}}})
		c := r.run(wire.Start{}, video(9))
		if end := c.end(c.read()); end.Outcome != wire.Done || end.Accounting.Failed["engine_error"] == 0 {
			t.Errorf("end %+v", end)
		}
		synctest.Wait()
		if _, known := r.ask("me", video(9), wire.Start{}); known {
			t.Error("a result that is missing stays so for ever")
		}
		r.close()
	})
}

func TestResultsOfAnotherEngineAreNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		r.run(wire.Start{}, video(9)).read()
		synctest.Wait()
		r.options.engine.Precision = "int8"
		r = r.restarted()
		synctest.Wait()
		if _, known := r.ask("me", video(9), wire.Start{}); known {
			t.Error("results of fp32 are given for int8")
		}
		r.run(wire.Start{}, video(9)).read()
		synctest.Wait()
		if _, known := r.ask("me", video(9), wire.Start{}); !known {
			t.Error("its own results are not known")
		}
		r.close()
	})
}

func TestMediaIsFoundByIDAndHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{service: cinema(9), limits: hub.Limits{Linger: time.Hour}})
		old := r.run(wire.Start{Media: wire.Media{ID: "film"}}, video(9))
		old.read()
		time.Sleep(ms)
		young := r.run(wire.Start{Sample: &wire.Sample{Every: 2}}, video(9))
		young.read()
		find := func(principal, media, want string) {
			t.Helper()
			id, err := r.FindMedia(principal, media)
			if id != want || want == "" && code(err) != wire.UnknownMedia {
				t.Errorf("found %q, %v; want %q", id, err, want)
			}
		}
		find("me", "film", old.Started.Session)
		find("me", sumOf(video(9)), young.Started.Session)
		find("you", "film", "")
		find("me", "", "")
		find("me", sumOf(""), "")
		time.Sleep(ms)
		running := r.start(wire.Start{Media: wire.Media{ID: "film", SHA256: sumOf("later")}})
		time.Sleep(ms)
		last := r.run(wire.Start{Media: wire.Media{ID: "film"}}, video(3))
		last.read()
		find("me", "film", running.Started.Session) // it has news
		find("me", sumOf("later"), running.Started.Session)
		if all := r.ByMedia("me", strings.ToUpper(sumOf(video(9)))); len(all) != 2 || all[0].ID != old.Started.Session {
			t.Errorf("sessions of these bytes: %+v", all)
		}
		running.Reader.Close()
		r.close()
	})
}

func TestKnownMediaIsNotFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cinema(9)
		s.MediaFault = func(int) outboxtest.Fault { return outboxtest.Error500 }
		r := open(t, options{service: s, decoders: kilo})
		film := strings.Repeat("K", 9000)
		first := r.run(wire.Start{}, film)
		first.read()
		c := r.fetch(wire.Start{Media: wire.Media{SHA256: sumOf(film)}})
		if c.Started.Session != first.Started.Session || !c.Started.Known || s.Fetches() != 0 {
			t.Errorf("started %+v after %d requests", c.Started, s.Fetches())
		}
		c.Reader.Close()
		r.close()
	})
}
