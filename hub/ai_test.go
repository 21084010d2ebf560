package hub_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session/wire"
)

// stages is a load that takes its time.
func stages(fail error) hub.Load {
	return func(ctx context.Context, report func(hub.Availability, float64)) (*infer.Batcher, error) {
		time.Sleep(time.Second)
		report(hub.Converting, 0)
		time.Sleep(time.Second)
		report(hub.Converting, 50)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if fail != nil {
			return nil, fail
		}
		return infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(infertest.Config{})}})
	}
}

func TestEngineStages(t *testing.T) {
	for _, fail := range []error{nil, errors.New("no such device")} {
		synctest.Test(t, func(t *testing.T) {
			r := open(t, options{load: stages(fail)})
			time.Sleep(500 * ms)
			want := []hub.AIStatus{
				{Availability: hub.None, Percent: -1},
				{Availability: hub.Converting},
				{Availability: hub.Converting, Percent: 50, ETA: time.Second},
				{
					Availability: hub.Enabled, Percent: 100, Model: infertest.Model().Ref(), Provider: "fake", Precision: "fp32",
					Providers: []hub.ProviderStatus{{Name: "fake", State: hub.ProviderServing}},
				},
			}
			if fail != nil {
				want[3] = hub.AIStatus{Availability: hub.Error, Percent: -1, Reason: "no such device"}
			}
			for i, w := range want {
				ready := i == 3 && fail == nil
				if got := r.AI().Status(); !reflect.DeepEqual(got, w) || (r.AI().Model() != nil) != ready || (len(r.NotReady()) == 0) != ready {
					t.Errorf("after %d s: %+v, not ready: %q", i, got, r.NotReady())
				}
				time.Sleep(time.Second)
			}
			if s := r.AI().Stats(); fail != nil && s != (infer.BatcherStats{}) {
				t.Errorf("stats without an engine: %+v", s)
			}
			r.close()
		})
	}
}

// A hub without an engine takes work, and does it as soon as there is one.
func TestSessionsWaitForTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{load: stages(nil)})
		c := r.start(wire.Start{})
		c.upload(video(3))
		synctest.Wait()
		if s := r.Stats(); s.States[wire.WaitingForEngine] != 1 || c.Started.Model != nil {
			t.Errorf("states %v, started %+v", s.States, c.Started)
		}
		begun := time.Now()
		p, err := r.Picture(t.Context(), "me", strings.NewReader("K"), nil)
		if took := time.Since(begun); err != nil || took != 3*time.Second || len(p.Detections) != 1 {
			t.Errorf("picture after %v: %+v, %v", took, p, err)
		}
		if end := c.end(c.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 3 {
			t.Errorf("end %+v", end)
		}
		d := r.start(wire.Start{})
		if m := d.Started.Model; m == nil || m.Name != infertest.Model().Name || len(m.Labels) != 3 {
			t.Errorf("model %+v", m)
		}
		d.Reader.Close()
		r.close()
	})
}

func TestWithoutAnEngineEverythingFailsWithItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{load: stages(errors.New("no such device"))})
		early := r.start(wire.Start{})
		early.send("K")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Picture(ctx, "me", strings.NewReader("K"), nil); err == nil {
			t.Error("a picture without an engine")
		}
		time.Sleep(10 * time.Second)
		late := r.run(wire.Start{}, "")
		for _, c := range []client{early, late} {
			if end := c.end(c.read()); end.Code != wire.EngineUnavailable || !strings.Contains(end.Message, "no such device") {
				t.Errorf("end %+v", end)
			}
		}
		if _, err := r.Picture(t.Context(), "me", strings.NewReader("K"), nil); code(err) != wire.EngineUnavailable {
			t.Errorf("picture: %v", err)
		}
		r.close()
	})
}

func TestClosingWhileTheEngineIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{load: stages(nil)})
		c := r.start(wire.Start{})
		must(t, r.Hub.Close())
		c.Reader.Close()
		if !c.Session.Suspended() {
			t.Error("the session was not suspended")
		}
		<-r.loaded
		must(t, r.ai.Close())
		must(t, r.ai.Close())
	})
}
