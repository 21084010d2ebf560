package hub_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"detections/hub"
	"detections/hub/timeline"
	"detections/media/spool"
	"detections/session/wire"
)

func TestSessionsBeyondTheLimitAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{Sessions: 2}})
		synctest.Wait()
		if why := r.NotReady(); len(why) != 0 {
			t.Errorf("not ready: %q", why)
		}
		a, b := r.start(wire.Start{}), r.start(wire.Start{})
		if _, err := r.Start(t.Context(), "me", wire.Start{}); code(err) != wire.Overloaded {
			t.Errorf("third of two sessions: %v", err)
		}
		if why := r.NotReady(); len(why) != 1 || !strings.Contains(why[0], "2 sessions are running") {
			t.Errorf("not ready: %q", why)
		}
		a.upload("K")
		a.read()
		synctest.Wait()
		c := r.start(wire.Start{})
		if n := r.Running(); n != 2 || len(r.spooled()) != 2 || r.stored() != 3 {
			t.Errorf("%d run, %d files, %d timelines", n, len(r.spooled()), r.stored())
		}
		b.Reader.Close()
		c.Reader.Close()
		r.close()
	})
}

func TestTheSameKeyAttachesToTheSameSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		first := r.start(wire.Start{Key: "k"})
		first.send("Kp")
		second := r.start(wire.Start{Key: "k"})
		if s := second.Started; s.Session != first.Started.Session || s.Token != first.Started.Token || s.Bytes != 2 || s.Offset != 0 || !s.Recovered {
			t.Errorf("started %+v, first %+v", s, first.Started)
		}
		if !closed(first.Feeder.Replaced()) {
			t.Error("the first feeder was not told")
		}
		foreign, err := r.Start(t.Context(), "you", wire.Start{Key: "k"})
		must(t, err)
		other, none := r.start(wire.Start{Key: "kk"}), r.start(wire.Start{})
		for _, s := range []string{foreign.Started.Session, other.Started.Session, none.Started.Session} {
			if s == first.Started.Session {
				t.Error("attached to a session of another key or principal")
			}
		}
		second.upload("p")
		want := first.read()
		late := r.start(wire.Start{Key: "k"}) // after the end: what was found
		if got := late.read(); len(got) != 5 || len(got) != len(want) {
			t.Errorf("%d events, first %d", len(got), len(want))
		}
		late.Feeder.Detach()
		for _, c := range []client{second, {foreign, t}, other, none} {
			c.Reader.Close()
		}
		r.close()
	})
}

func TestSessionsAreFoundByTheirOwnersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.start(wire.Start{})
		defer c.Reader.Close()
		id, ctx := c.Started.Session, t.Context()
		for _, who := range []struct{ principal, id string }{{"you", id}, {"me", id + "x"}, {"me", ""}, {"", id}} {
			_, _, found := r.Session(who.principal, who.id)
			_, resumed := r.Resume(ctx, who.principal, wire.Resume{Session: who.id, Token: c.Started.Token, Epoch: c.Started.Epoch})
			_, watched := r.Watch(ctx, who.principal, wire.Watch{Session: who.id})
			_, cancelled := r.Cancel(who.principal, who.id)
			_, read := r.Events(ctx, who.principal, who.id)
			deleted := r.Delete(ctx, who.principal, who.id)
			for what, err := range map[string]error{
				"session": found, "resume": resumed, "watch": watched, "cancel": cancelled, "events": read, "delete": deleted,
			} {
				if code(err) != wire.UnknownSession {
					t.Errorf("%s of %q by %q: %v", what, who.id, who.principal, err)
				}
			}
		}
		if len(r.Sessions("you")) != 0 || len(r.Sessions("me")) != 1 || closed(c.Session.Done()) {
			t.Errorf("lists: %v, %v", r.Sessions("you"), r.Sessions("me"))
		}
		for _, token := range []string{"", "x", c.Started.Token[1:], c.Started.Token + "x"} {
			if _, err := r.Resume(ctx, "me", wire.Resume{Session: id, Token: token, Epoch: c.Started.Epoch}); code(err) != wire.Forbidden {
				t.Errorf("token %q: %v", token, err)
			}
		}
		if closed(c.Feeder.Replaced()) {
			t.Error("a wrong token replaced the feeder")
		}
		r.close()
	})
}

func TestCancelAndDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		kept, gone := r.start(wire.Start{Key: "a"}), r.start(wire.Start{Key: "b"})
		kept.send(video(3))
		gone.send(video(3))
		synctest.Wait()
		if _, err := r.Cancel("me", kept.Started.Session); err != nil {
			t.Error(err)
		}
		if end := kept.end(kept.read()); end.Outcome != wire.Cancelled || end.Accounting.Inferred != 3 {
			t.Errorf("end %+v", end)
		}
		must(t, r.Delete(t.Context(), "me", gone.Started.Session))
		if _, err := gone.follow(); !errors.Is(err, timeline.ErrUnknown) {
			t.Errorf("reader of a deleted session: %v", err)
		}
		if len(r.Sessions("me")) != 1 || r.stored() != 1 || len(r.spooled()) != 0 {
			t.Errorf("%d sessions, %d timelines, %v", len(r.Sessions("me")), r.stored(), r.spooled())
		}
		again := r.start(wire.Start{Key: "b"})
		if again.Started.Session == gone.Started.Session {
			t.Error("the key of a deleted session still leads to it")
		}
		again.Reader.Close()
		n := 0
		events, err := r.Events(t.Context(), "me", kept.Started.Session)
		must(t, err)
		for e, err := range events {
			if n++; err != nil || e.Offset != uint64(n) {
				t.Errorf("event %d: %v", e.Offset, err)
			}
		}
		if n != 5 {
			t.Errorf("%d events", n)
		}
		r.close()
	})
}

func TestSpoolFilesAreGoneAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.start(wire.Start{})
		c.send("K")
		file := filepath.Join(r.dir, "spool", c.Started.Session+".media")
		if !exists(file) {
			t.Errorf("no file %s", file)
		}
		c.Feeder.EOF()
		c.read()
		synctest.Wait()
		if exists(file) {
			t.Errorf("%s is still there", file)
		}
		r.close()
	})
}

func TestSessionThatCannotBeStoredLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{Sessions: 1}})
		blocker := filepath.Join(r.dir, "spool") // a file in the folder's place
		must(t, os.WriteFile(blocker, nil, 0o600))
		for range 3 {
			if _, err := r.Start(t.Context(), "me", wire.Start{Key: "k"}); code(err) != wire.Internal {
				t.Errorf("without a spool: %v", err)
			}
		}
		if r.Running() != 0 || r.stored() != 0 || len(r.Sessions("me")) != 0 {
			t.Errorf("%d run, %d timelines", r.Running(), r.stored())
		}
		must(t, os.Remove(blocker))
		r.run(wire.Start{Key: "k"}, "K").read()
		r.close()
	})
}

// failing is a store of which one method fails.
type failing struct {
	*timeline.Memory
	method string
}

func (f *failing) Acquire(ctx context.Context, id string) (timeline.Status, error) {
	if f.method == "Acquire" {
		return timeline.Status{}, spool.ErrSync
	}
	return f.Memory.Acquire(ctx, id)
}

func (f *failing) Status(ctx context.Context, id string) (timeline.Status, error) {
	if f.method == "Status" {
		return timeline.Status{}, spool.ErrSync
	}
	return f.Memory.Status(ctx, id)
}

func TestSessionThatNobodyCouldAttachToEnds(t *testing.T) {
	for _, method := range []string{"Acquire", "Status"} {
		synctest.Test(t, func(t *testing.T) {
			store := &failing{timeline.NewMemory(), method}
			r := open(t, options{store: store, limits: hub.Limits{Sessions: 1}})
			if _, err := r.Start(t.Context(), "me", wire.Start{}); code(err) != wire.Internal {
				t.Errorf("start: %v", err)
			}
			synctest.Wait()
			store.method = ""
			unfinished, err := store.List(t.Context(), true)
			if err != nil || r.Running() != 0 || len(unfinished) != 0 {
				t.Errorf("%s: %d sessions run that nobody knows of, unfinished %v", method, r.Running(), unfinished)
			}
			r.close()
		})
	}
}

func TestPicturesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{Pictures: 1}})
		body, late := io.Pipe()
		first := make(chan error, 1)
		go func() { _, err := r.Picture(t.Context(), "me", body, nil); first <- err }()
		synctest.Wait()
		if _, err := r.Picture(t.Context(), "me", strings.NewReader("x"), nil); code(err) != wire.Overloaded {
			t.Errorf("a second picture: %v", err)
		}
		late.Close()
		if err := <-first; code(err) != wire.UnsupportedMedia {
			t.Errorf("the first: %v", err)
		}
		r.close()
	})
}

func TestAKeyBelongsToItsMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		asked := wire.Media{Size: 3, SHA256: strings.Repeat("ab", 32), ID: "m"}
		first := r.start(wire.Start{Key: "k", Media: asked})
		for what, m := range map[string]wire.Media{
			"size": {Size: 4}, "hash": {SHA256: strings.Repeat("cd", 32)}, "id": {Size: 3, ID: "n"},
		} {
			if _, err := r.Start(t.Context(), "me", wire.Start{Key: "k", Media: m}); code(err) != wire.Conflict {
				t.Errorf("another %s: %v", what, err)
			}
		}
		if closed(first.Feeder.Replaced()) {
			t.Error("who was refused replaced the feeder")
		}
		for _, m := range []wire.Media{{}, {Name: "other name"}, {Size: 3, SHA256: strings.Repeat("AB", 32)}, {ID: "m"}} {
			again := r.start(wire.Start{Key: "k", Media: m})
			if again.Started.Session != first.Started.Session {
				t.Errorf("%+v gives another session", m)
			}
			again.Reader.Close()
		}
		first.Reader.Close()
		r.close()
	})
}
