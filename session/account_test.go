package session_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer/infertest"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// Whatever happens when, every frame is accounted for at every moment, and no
// counter falls. Run with -race.
func TestEveryFrameIsAccountedForAtEveryMoment(t *testing.T) {
	lives := uint64(100)
	if testing.Short() {
		lives = 30
	}
	for n := range lives {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { live(t, rand.New(rand.NewPCG(7, n))) })
		})
	}
}

// live is one random life of a session.
func live(t *testing.T, random *rand.Rand) {
	some := func(most time.Duration) time.Duration { return time.Duration(random.Int64N(int64(most) + 1)) }
	o := options{
		start: wire.Start{
			Mode:   []wire.Mode{wire.File, wire.Live}[random.IntN(2)],
			Sample: &wire.Sample{Every: 1 + random.IntN(3)},
		},
		decoders: sessiontest.Config{Slots: 2 + random.IntN(5), Cost: some(3 * ms)},
	}
	hangs := int64(-1)
	if random.IntN(4) == 0 {
		hangs = random.Int64N(300)
	}
	for range 1 + random.IntN(3) {
		o.engines = append(o.engines, infertest.Config{
			Price: infertest.Price{Run: some(20 * ms), Image: some(5 * ms)}, MaxBatch: 1 + random.IntN(4),
			Before: func(e *infertest.Engine, n int) error {
				for i := range n {
					switch tag := e.Tag(i); {
					case tag%23 == 5:
						return errors.New("cannot take this one")
					case tag == hangs:
						time.Sleep(2 * time.Minute) // longer than anybody waits
					}
				}
				return nil
			},
			After: func(e *infertest.Engine, n int) {
				for i := range n {
					if e.Tag(i)%41 == 7 {
						e.Output(0, i)[0] = float32(math.NaN())
					}
				}
			},
		})
	}
	if random.IntN(2) == 0 {
		alone := o.engines[0]
		alone.MaxBatch = 1
		o.solo = &alone
	}
	if slow := some(20 * ms); random.IntN(3) == 0 {
		o.append = func(wire.Event) error { time.Sleep(slow); return nil }
	}
	if random.IntN(3) == 0 {
		o.pace = session.NewPace(float64(20+random.IntN(200)), float64(random.IntN(2)*(20+random.IntN(500))), random.Float64())
	}
	length := 50 + random.IntN(250)
	v := []byte(video(length))
	for i := range v {
		switch random.IntN(200) {
		case 0, 1, 2:
			v[i] = 'x'
		case 3:
			if random.IntN(4) == 0 {
				v[i] = '!'
			}
		}
	}
	chunk, stop := 1+random.IntN(length), random.IntN(4)
	pause, after := some(20*ms), some(time.Second)
	var seeds [2]uint64
	for i := range seeds {
		seeds[i] = random.Uint64()
	}

	r := begin(t, o)
	var others sync.WaitGroup
	feeder := []io.Writer{r.feeder, r.feeder.Paced()}[random.IntN(2)]
	others.Go(func() { // feeds
		for at := 0; at < length; at += chunk {
			if _, err := feeder.Write(v[at:min(length, at+chunk)]); err != nil {
				return // it has ended
			}
			time.Sleep(pause)
		}
		r.feeder.EOF()
	})
	others.Go(func() { // changes the configuration
		random := rand.New(rand.NewPCG(seeds[0], 0))
		for !closed(r.Done()) {
			_ = r.Configure(&wire.Configure{Sample: &wire.Sample{Every: 1 + random.IntN(4)}})
			time.Sleep(1 + time.Duration(random.Int64N(int64(100*ms))))
		}
	})
	others.Go(func() { // stops it
		time.Sleep(after)
		switch stop {
		case 0:
			r.Cancel()
		case 1:
			r.Abort(wire.Errorf(wire.Draining, "shut down"))
		}
	})
	others.Go(func() { // watches
		random := rand.New(rand.NewPCG(seeds[1], 0))
		var before wire.Accounting
		for !closed(r.Done()) {
			a := r.Status().Accounting
			if err := balanced(a); err != nil {
				t.Error(err)
			}
			if a.Decoded < before.Decoded || a.Inferred < before.Inferred || a.Skipped < before.Skipped ||
				a.Dropped["superseded"] < before.Dropped["superseded"] || a.Failed["engine_error"] < before.Failed["engine_error"] {
				t.Errorf("%+v after %+v", a, before)
			}
			before = a
			time.Sleep(1 + time.Duration(random.Int64N(int64(3*ms))))
		}
	})
	events, end := r.finish()
	others.Wait()
	time.Sleep(3 * time.Minute) // an engine that hung has come back
	if a := end.Accounting; o.start.Mode == wire.File && a.Dropped["superseded"]+a.Dropped["stale"]+a.Dropped["rate_limited"] != 0 || end.Outcome == wire.Done && a.Dropped["cancelled"] != 0 {
		t.Errorf("end %+v", end)
	}
	if end.Outcome == wire.Done && o.start.Mode == wire.File {
		if got, want := frames(events), sampled(events, end.Accounting.Decoded); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("frames %v, want %v", got, want)
		}
	}
}

// sampled are the frames that the configured events say. A change that names the
// rule in force does not begin it anew.
func sampled(events []event, decoded int64) (want []int64) {
	all := configured(events)
	next := int64(0)
	for i, c := range all {
		to := decoded
		if i+1 < len(all) {
			to = all[i+1].Frame
		}
		if i == 0 || c.Sample.Every != all[i-1].Sample.Every {
			next = c.Frame
		}
		for ; next < to; next += int64(c.Sample.Every) {
			want = append(want, next)
		}
	}
	return want
}
