package session_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/session"
	"detections/session/wire"
)

func TestMediaThatComesTooFastIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{rates: session.Rates{Most: 10}})
		begun := time.Now()
		for range 10 {
			r.send("Kpppp")
		}
		if took := time.Since(begun); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("50 bytes took %v", took)
		}
		r.feeder.EOF()
		if _, end := r.finish(); end.Outcome != wire.Done {
			t.Errorf("end %+v", end)
		}
	})
}

func TestAFileThatComesTooSlowlyIsCutOff(t *testing.T) {
	for mode, want := range map[wire.Mode]string{wire.File: "3 bytes within 1m0s", wire.Live: ""} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, options{rates: session.Rates{Least: 1}, start: wire.Start{Mode: mode}})
			for range 5 {
				r.send(strings.Repeat("K", 20))
				time.Sleep(20 * time.Second)
			}
			r.send("Kpp")
			time.Sleep(2 * time.Minute)
			st := r.Status()
			if want == "" {
				if st.End != nil {
					t.Errorf("a slow live input ended: %+v", st.End)
				}
				r.feeder.EOF()
			}
			_, end := r.finish()
			if want != "" && (end.Code != wire.UploadIncomplete || !strings.Contains(end.Message, want) || end.Accounting.Inferred != 103) {
				t.Errorf("end %+v", end)
			}
		})
	}
}

func TestMediaIsRefusedWhileThereIsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := false
		r := begin(t, options{maxBytes: 1 << 30, room: func() error {
			if full {
				return wire.Errorf(wire.StorageFull, "no room")
			}
			return nil
		}})
		r.send("Kpp")
		full = true
		r.send("pp") // the disk is not looked at for every byte
		n, err := r.feeder.Write(make([]byte, 16<<20))
		if n != 0 || wire.AsError(err).Code != wire.StorageFull {
			t.Errorf("%d bytes, err %v", n, err)
		}
		r.Cancel()
		r.finish()
	})
}
