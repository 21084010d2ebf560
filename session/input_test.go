package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"detections/infer/infertest"
	"detections/session/wire"
)

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestSecondFeederReplacesTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{})
		r.send("Kpp")
		first := r.feeder
		if closed(first.Replaced()) {
			t.Error("replaced by nobody")
		}
		second, from := r.Attach()
		if from != 3 || !closed(first.Replaced()) || closed(second.Replaced()) {
			t.Errorf("the second begins at %d", from)
		}
		if n, err := first.Write([]byte("!!!")); n != 0 || wire.AsError(err).Code != wire.Replaced {
			t.Errorf("write of the first: %d, %v", n, err)
		}
		first.EOF()
		first.CutOff("me")
		first.Detach() // starts no linger
		time.Sleep(time.Hour)
		r.feeder = second
		r.upload("pp")
		if _, end := r.finish(); end.Outcome != wire.Done || end.Accounting.Inferred != 5 {
			t.Errorf("end %+v", end)
		}
	})
}

// Feeders that come and go, and overlap, leave no gap and no byte twice.
func TestResumeGoesOnAtTheRightByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{linger: time.Minute})
		v := video(200)
		for at := int64(0); at < 200; {
			to := min(200, at+13)
			r.send(v[at:to])
			if at%2 == 0 {
				r.feeder.Detach()
				time.Sleep(59 * time.Second)
			}
			if r.feeder, at = r.Attach(); at != to {
				t.Fatalf("resumed at %d after %d bytes", at, to)
			}
		}
		time.Sleep(time.Hour) // a feeder that is there may take its time
		r.feeder.EOF()
		if events, end := r.finish(); end.Outcome != wire.Done || len(frames(events)) != 200 {
			t.Errorf("end %+v", end)
		}
	})
}

func TestLingeringIsAStateThatWatchersSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{linger: time.Minute})
		r.send("K")
		synctest.Wait()
		changed := r.Changed()
		r.feeder.Detach()
		if st := r.Status(); st.State != wire.Lingering || !closed(changed) {
			t.Errorf("after Detach: %s, told %v", st.State, closed(changed))
		}
		changed = r.Changed()
		r.feeder, _ = r.Attach()
		if st := r.Status(); st.State != wire.Running || !closed(changed) {
			t.Errorf("after Attach: %s, told %v", st.State, closed(changed))
		}
		r.feeder.Detach()
		begun := time.Now()
		_, end := r.finish()
		if took := time.Since(begun); end.Code != wire.UploadIncomplete || took != time.Minute {
			t.Errorf("ended after %v with %+v", took, end)
		}
	})
}

func TestNobodyIsWaitedForOnceAllBytesAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{engines: []infertest.Config{{Price: infertest.Price{Run: 40 * time.Second}, MaxBatch: 1}}})
		r.upload(video(5))
		synctest.Wait()
		r.feeder.Detach()
		if st := r.Status(); st.State != wire.Running {
			t.Errorf("state %s", st.State)
		}
		if _, end := r.finish(); end.Outcome != wire.Done || r.Status().State != wire.Ended {
			t.Errorf("end %+v", end)
		}
	})
}

func TestBytesAfterTheEndAreRefusedAndChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{})
		r.upload(video(5))
		if _, err := r.feeder.Write([]byte("!!")); wire.AsError(err).Code != wire.BadMessage {
			t.Errorf("bytes after eof: %v", err)
		}
		r.feeder.EOF()
		r.feeder.CutOff("not at all")
		_, end := r.finish()
		if end.Outcome != wire.Done || end.Bytes != 5 || end.Accounting.Inferred != 5 {
			t.Errorf("end %+v", end)
		}
		if _, err := r.feeder.Write([]byte("!!")); wire.AsError(err).Code != wire.Conflict {
			t.Errorf("bytes after the session: %v", err)
		}
		f, from := r.Attach() // to read what there was
		if from != 5 {
			t.Errorf("attached at byte %d", from)
		}
		f.Detach()
		if st := r.Status().State; st != wire.Ended {
			t.Errorf("state %s", st)
		}
	})
}

// A decoder may have enough before the media ends; all bytes are taken nevertheless.
func TestBytesAfterTheLastPictureBelongToTheMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{})
		r.send("Kpz")
		time.Sleep(time.Hour)
		if st := r.Status(); st.State != wire.Running || st.Accounting.Inferred != 2 {
			t.Errorf("status %+v", st)
		}
		r.upload("Kpp")
		if _, end := r.finish(); end.Outcome != wire.Done || end.Bytes != 6 || end.Accounting.Decoded != 2 || end.MediaSHA256 == "" {
			t.Errorf("end %+v", end)
		}
	})
}

func TestMediaThatIsTooLargeIsTakenUpToTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{maxBytes: 5})
		r.send("Kpp")
		if _, err := r.feeder.Write([]byte("ppp")); wire.AsError(err).Code != wire.TooLarge {
			t.Errorf("3 + 3 of 5 bytes: %v", err)
		}
		if _, err := r.feeder.Write([]byte("p")); wire.AsError(err).Code == wire.Internal {
			t.Errorf("then: %v", err)
		}
		begun := time.Now()
		if _, end := r.finish(); end.Code != wire.TooLarge || end.Bytes != 3 || end.Accounting.Inferred != 3 || time.Since(begun) != 0 {
			t.Errorf("after %v: end %+v", time.Since(begun), end)
		}
	})
}

func TestAnEmptyWriteIsNotTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{})
		r.send("")
		synctest.Wait()
		r.upload("K")
		if _, end := r.finish(); end.Outcome != wire.Done {
			t.Errorf("end %+v", end)
		}
	})
}

func TestReadyWhenTheInputIsRecognised(t *testing.T) {
	for video, want := range map[string]wire.StateName{"K": wire.Running, "i": wire.WaitingForIndex} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, options{})
			synctest.Wait()
			if closed(r.Ready()) || r.Status().State != wire.WaitingForBytes {
				t.Errorf("before the first byte: %+v", r.Status())
			}
			r.send(video)
			<-r.Ready()
			if st := r.Status(); st.State != want || want == wire.Running && st.Stream.Container != "fake" {
				t.Errorf("%s: %+v", video, st)
			}
			r.Cancel()
			r.finish()
		})
	}
}

func TestStatusWhileTheEngineIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{inference: inference(never)})
		r.send(video(5))
		synctest.Wait()
		if st := r.Status(); st.State != wire.WaitingForEngine || st.Model != nil || st.Received != 5 || st.Acked != 5 {
			t.Errorf("status %+v", st)
		}
		if err := r.Configure(&wire.Configure{}); wire.AsError(err).Code != wire.EngineUnavailable {
			t.Errorf("configure: %v", err)
		}
		r.Cancel()
		r.finish()
	})
}
