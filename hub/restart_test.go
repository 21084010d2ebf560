package hub_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/hub/timeline"
	"detections/infer/infertest"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// killed is the hub that starts after r was killed at this moment, on what r had
// written until then. r itself ends in peace, on a disk that nobody looks at.
func (r *rig) killed() *rig {
	r.t.Helper()
	r.dead.Store(true) // or the service hears of what is not in the copy
	o := r.options
	o.store, o.dir = r.copyStore(), r.t.TempDir()
	must(r.t, os.CopyFS(o.dir, os.DirFS(r.dir)))
	r.close()
	return open(r.t, o)
}

// restarted is the hub that starts after r was stopped as it should be.
func (r *rig) restarted() *rig {
	r.t.Helper()
	r.Drain(r.t.Context())
	o := r.options
	o.store, o.dir = r.copyStore(), r.dir
	r.close()
	return open(r.t, o)
}

// copyStore is what the store holds now.
func (r *rig) copyStore() timeline.Store {
	r.t.Helper()
	ctx, to := context.Background(), timeline.NewMemory()
	all, err := r.store.List(ctx, false)
	must(r.t, err)
	for _, st := range all {
		must(r.t, to.Create(ctx, st.Meta))
		owned, err := to.Acquire(ctx, st.ID)
		must(r.t, err)
		recs, err := r.store.Read(ctx, st.ID, 0, int(st.Offset))
		must(r.t, err)
		must(r.t, to.Append(ctx, st.ID, owned.Term, 0, recs...))
		must(r.t, to.Commit(ctx, st.ID, owned.Term, st.Input))
		must(r.t, to.Deliver(ctx, st.ID, st.Delivered))
	}
	return to
}

// endings are the ways in which a hub leaves the field to the next one.
var endings = map[string]func(*rig) *rig{"killed": (*rig).killed, "restarted": (*rig).restarted}

func afterBoth(t *testing.T, test func(t *testing.T, again func(*rig) *rig)) {
	for name, again := range endings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, again) })
		})
	}
}

// plain are events without what the clock put into them.
func plain(t *testing.T, events []wire.Event) (all []string) {
	t.Helper()
	for _, e := range events {
		m := map[string]any{}
		must(t, json.Unmarshal(e.Message, &m))
		delete(m, "timing")
		text, err := json.Marshal(m)
		must(t, err)
		all = append(all, string(text))
	}
	return all
}

func TestARestartedHubGoesOnWhereItWas(t *testing.T) {
	const film = "Kpppppppp" + "Kppppxpppp" + "Kppppppppppppppp"
	slow := infertest.Config{Price: infertest.Price{Run: 100 * ms}, MaxBatch: 2}
	afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
		r := open(t, options{engine: slow})
		undisturbed := r.run(wire.Start{}, film)
		want := plain(t, undisturbed.read())
		for sent := range len(film) {
			c := r.start(wire.Start{})
			c.send(film[:sent])
			time.Sleep(310 * ms) // some of it is inferred, some is not
			seen, _, err := c.Reader.Poll(t.Context())
			must(t, err)
			c.Reader.Close()
			r = again(r)
			back := r.resume(c, uint64(len(seen)))
			if s := back.Started; !s.Recovered || s.Epoch != c.Started.Epoch || s.Bytes != int64(sent) {
				t.Errorf("started %+v after %d bytes and %d events", s, sent, len(seen))
			}
			back.upload(film[sent:])
			if got := plain(t, append(slices.Clip(seen), back.read()...)); !slices.Equal(got, want) {
				t.Fatalf("interrupted after %d bytes:\n%s\nundisturbed:\n%s", sent, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		r.close()
	})
}

func TestARestartedHubFinishesWhatWasSentInFull(t *testing.T) {
	afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
		r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}})
		c := r.start(wire.Start{})
		c.upload(video(20))
		time.Sleep(5*time.Second + 500*ms)
		c.Reader.Close()
		for range 3 {
			r = again(r)
			time.Sleep(2 * time.Second)
		}
		w := r.watch(wire.Watch{Session: c.Started.Session})
		events := w.read()
		if end := w.end(events); end.Outcome != wire.Done || end.Accounting.Inferred != 20 || len(events) != 22 {
			t.Errorf("%d events, end %+v", len(events), end)
		}
		r.close()
	})
}

func TestARestartedHubWaitsForTheFeederOnlySoLong(t *testing.T) {
	afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
		r := open(t, options{limits: hub.Limits{Linger: time.Minute}})
		c := r.start(wire.Start{})
		c.send(video(5))
		synctest.Wait()
		c.Reader.Close()
		r = again(r)
		time.Sleep(time.Minute - time.Second)
		if n := r.Running(); n != 1 {
			t.Errorf("%d sessions wait for their feeders", n)
		}
		w := r.watch(wire.Watch{Session: c.Started.Session})
		if end := w.end(w.read()); end.Code != wire.UploadIncomplete || end.Accounting.Inferred != 5 {
			t.Errorf("end %+v", end)
		}
		r.close()
	})
}

func TestARestartedHubKeepsWhatHasEnded(t *testing.T) {
	afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
		r := open(t, options{limits: hub.Limits{Retention: time.Hour}})
		c := r.run(wire.Start{Key: "k", Media: wire.Media{Name: "a.mp4"}}, video(5))
		want := plain(t, c.read())
		time.Sleep(20 * time.Minute)
		young := r.run(wire.Start{}, "K")
		young.read()
		synctest.Wait()
		r = again(r)
		id := c.Started.Session
		w := r.watch(wire.Watch{Session: id, Offset: 2})
		if got := plain(t, w.read()); !slices.Equal(got, want[2:]) || w.Started.Epoch != c.Started.Epoch || w.Started.Bytes != 5 {
			t.Errorf("read %q, started %+v", got, w.Started)
		}
		s, _, err := r.Session("me", id)
		must(t, err)
		if st := s.Status(); st.End == nil || st.Accounting.Inferred != 5 || st.Media.Name != "a.mp4" || st.Offset != 7 {
			t.Errorf("status %+v", st)
		}
		same := r.start(wire.Start{Key: "k"})
		if same.Started.Session != id || same.Started.Token != c.Started.Token {
			t.Errorf("the key leads to %+v", same.Started)
		}
		same.Reader.Close()
		if _, err := r.Resume(t.Context(), "me", wire.Resume{Session: id, Token: young.Started.Token, Epoch: c.Started.Epoch}); code(err) != wire.Forbidden {
			t.Errorf("another session's token: %v", err)
		}
		if _, err := r.Watch(t.Context(), "you", wire.Watch{Session: id}); code(err) != wire.UnknownSession {
			t.Errorf("another's session: %v", err)
		}
		time.Sleep(50 * time.Minute)
		if r.known(c) || !r.known(young) || r.stored() != 1 {
			t.Errorf("the retention of an hour began anew: known %v and %v", r.known(c), r.known(young))
		}
		r.close()
	})
}

func TestARestartedHubRemovesMediaThatBelongsToNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		ended, running := r.run(wire.Start{}, "K"), r.start(wire.Start{})
		running.send("Kp")
		ended.read()
		synctest.Wait()
		for _, name := range []string{ended.Started.Session, "nobody"} {
			must(t, os.WriteFile(filepath.Join(r.dir, "spool", name+".media"), []byte("K"), 0o600))
		}
		running.Reader.Close()
		next := open(t, options{store: r.copyStore(), dir: copied(t, r.dir)})
		if files := next.spooled(); len(files) != 1 || !strings.Contains(files[0], running.Started.Session) {
			t.Errorf("in the spool: %v", files)
		}
		next.close()
		must(t, os.RemoveAll(filepath.Join(r.dir, "spool", "nobody.media")))
		must(t, os.RemoveAll(filepath.Join(r.dir, "spool", ended.Started.Session+".media")))
		r.close()
	})
}

func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	must(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// damagedStore is a store that gives back what a session was asked to do, or what it
// recorded for a replay, as something else.
type damagedStore struct {
	timeline.Store
	start, replay string // sessions
}

func (s damagedStore) List(ctx context.Context, unfinished bool) ([]timeline.Status, error) {
	all, err := s.Store.List(ctx, unfinished)
	for i := range all {
		if all[i].ID == s.start {
			all[i].Start = []byte("{")
		}
	}
	return all, err
}

func (s damagedStore) Read(ctx context.Context, id string, after uint64, limit int) ([]timeline.Record, error) {
	recs, err := s.Store.Read(ctx, id, after, limit)
	for i := range recs {
		if id == s.replay && recs[i].Type == wire.TypeDetections {
			recs[i].Replay = []byte("?")
		}
	}
	return recs, err
}

func TestARestartedHubEndsWhatIsDamagedAndGoesOnWithTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		var all []client
		for range 4 {
			c := r.start(wire.Start{})
			c.send(video(5))
			synctest.Wait()
			c.Reader.Close()
			all = append(all, c)
		}
		start, replay, media, whole := all[0].Started.Session, all[1].Started.Session, all[2].Started.Session, all[3]
		o := options{store: damagedStore{r.copyStore(), start, replay}, dir: copied(t, r.dir)}
		r.close()
		must(t, os.Remove(filepath.Join(o.dir, "spool", media+".media")))
		for range 2 { // what is damaged is still so the next time
			r = open(t, o)
			for _, id := range []string{start, replay, media} {
				w := r.watch(wire.Watch{Session: id})
				events := w.read()
				if end := w.end(events); len(events) != 7 || end.Outcome != wire.Failed || end.Code != wire.Internal {
					t.Errorf("%d events, end %+v", len(events), end)
				}
			}
			if n := r.Running(); n != 1 {
				t.Errorf("%d sessions go on", n)
			}
			r.Drain(t.Context())
			o.store, o.dir = damagedStore{r.copyStore(), start, replay}, copied(t, r.dir)
			r.close()
		}
		r = open(t, o)
		back := r.resume(whole, 6)
		back.upload("p")
		if end := back.end(back.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 6 {
			t.Errorf("end %+v", end)
		}
		r.close()
	})
}

func TestAFullQuotaRefusesUploadsUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// An access unit takes as much as the results of a few.
		r := open(t, options{limits: hub.Limits{Disk: 40_000, Rates: session.Rates{Least: -1}}, decoders: sessiontest.Config{Unit: 1000}})
		unit := strings.Repeat("K", 1000)
		old := r.run(wire.Start{}, unit)
		old.read()
		big := r.start(wire.Start{})
		big.send(strings.Repeat(unit, 40))
		synctest.Wait()
		for _, want := range []bool{true, false} { // its end was told a moment ago, or is long known
			if _, err := r.Start(t.Context(), "me", wire.Start{}); code(err) != wire.StorageFull {
				t.Errorf("start on a full disk: %v", err)
			}
			if r.known(old) != want {
				t.Errorf("an ended session is kept: %v", !want)
			}
			time.Sleep(time.Minute)
		}
		big.Reader.Close()
		r = r.restarted()
		if _, err := r.Start(t.Context(), "me", wire.Start{}); code(err) != wire.StorageFull {
			t.Errorf("start on a disk that was full before: %v", err)
		}
		back := r.resume(big, 0)
		back.upload(unit) // what runs goes on
		if end := back.end(back.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 41 {
			t.Errorf("end %+v", end)
		}
		synctest.Wait()
		r.run(wire.Start{}, unit).read()
		r.close()
	})
}

// A counter that begins with what earlier processes counted is, for who watches it, a jump.
func TestARestartedHubCountsWhatItDoesItself(t *testing.T) {
	for _, mode := range []wire.Mode{wire.File, wire.Live} {
		afterBoth(t, func(t *testing.T, again func(*rig) *rig) {
			r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: 100 * ms}, MaxBatch: 1}, decoders: sessiontest.Config{Cost: 50 * ms}})
			c := r.start(wire.Start{Mode: mode})
			for range 2 {
				c.send(video(20))
				time.Sleep(510 * ms)
				c.Reader.Close()
				r = again(r)
				if a := r.Stats().Accounting; a.Inferred != 0 || a.Decoded != a.Dropped["not_recorded"] || !balanced(a) {
					t.Errorf("%s: at the start %+v", mode, a)
				}
				c = r.resume(c, 0)
			}
			before := c.Session.Status().Accounting
			c.upload(video(10))
			end := c.end(c.read())
			for range 2 { // it is tidied up, and kept
				a := r.Stats().Accounting
				all := sum(before, a) // of what was not recorded, both tell
				all.Decoded, all.Dropped["not_recorded"] = all.Decoded-a.Dropped["not_recorded"], before.Dropped["not_recorded"]
				if !reflect.DeepEqual(all, end.Accounting) || !balanced(a) || before.Inferred < 5 {
					t.Errorf("%s: %+v\nof %+v\nbefore %+v", mode, a, end.Accounting, before)
				}
				synctest.Wait()
			}
			if a := end.Accounting; !balanced(a) || mode == wire.File && a.Inferred != 50 {
				t.Errorf("%s: end %+v", mode, a)
			}
			r.close()
		})
	}
}
