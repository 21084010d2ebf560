package hub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"detections/infer/infertest"
	"detections/media"
	"detections/session/wire"
)

// Its end comes when what it has was worked on; a camera that came back until then would
// be let in and not be taken.
func TestSessionThatTakesNothingMoreIsNotRejoined(t *testing.T) {
	for name, finish := range map[string]func(client){
		"eof":    func(c client) { c.Feeder.EOF() },
		"cancel": func(c client) { c.Session.Cancel() },
		"linger": func(c client) { c.Feeder.Leave(0); time.Sleep(ms) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: time.Second}}})
				c := r.start(wire.Start{Mode: wire.Live, Media: wire.Media{Container: media.Units}})
				must(t, c.Feeder.WriteUnit(&media.Unit{Codec: "vp8", Key: true, Data: []byte("K")}))
				time.Sleep(10 * ms) // the engine has it
				again, err := r.Rejoin(t.Context(), "me", c.Started.Session, wire.All)
				must(t, err)
				again.Reader.Close()
				finish(client{again, t})
				if st := again.Session.Status(); st.End != nil {
					t.Fatalf("it has ended already: %+v", st)
				}
				if _, err := r.Rejoin(t.Context(), "me", c.Started.Session, wire.All); code(err) != wire.Conflict {
					t.Errorf("a session that takes nothing more: %v", err)
				}
				c.read()
				r.close()
			})
		})
	}
}
