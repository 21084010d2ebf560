package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session"
	"detections/session/wire"
)

// maker makes versions whose engines are fakes, and remembers those.
type maker struct {
	t       *testing.T
	price   infertest.Price
	before  func(version string) error // of every run
	engines []*infertest.Engine
}

// open loads an engine of a version on a provider, in a time.
func (k *maker) open(version, provider string, takes time.Duration) func(context.Context, func(float64)) (*infer.Batcher, error) {
	return func(ctx context.Context, report func(float64)) (*infer.Batcher, error) {
		report(50)
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		e := infertest.NewEngine(infertest.Config{
			Price: k.price, MaxBatch: 4, Model: infertest.Other(version), Provider: provider,
			Before: func(*infertest.Engine, int) error {
				if k.before != nil {
					return k.before(version)
				}
				return nil
			},
		})
		k.engines = append(k.engines, e)
		return infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{e}})
	}
}

// version runs on the CPU at once.
func (k *maker) version(name string) *hub.Version {
	return &hub.Version{ID: name, Ref: "squares@" + name, Providers: []hub.Provider{{Name: "cpu", Open: k.open(name, "cpu", 100*ms)}}}
}

// slow has a better provider, whose engines take a minute to build.
func (k *maker) slow(name string, build error) *hub.Version {
	v, built := k.version(name), false
	better := hub.Provider{
		Name: "tensorrt", Missing: func() (bool, error) { return !built, nil }, Open: k.open(name, "tensorrt", 300*ms),
		Build: func(ctx context.Context, report func(float64)) error {
			for i := range 60 {
				report(float64(i) / 0.6)
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			built = build == nil
			return build
		},
	}
	gone := hub.Provider{Name: "cuda", Missing: func() (bool, error) { return false, errors.New("no such device") }}
	v.Providers = slices.Insert(v.Providers, 0, better, gone)
	return v
}

// open is how many engines are not closed.
func (k *maker) live() (n int) {
	for _, e := range k.engines {
		if !e.Closed() {
			n++
		}
	}
	return n
}

// openDeployer is a hub with an AI that versions are deployed to.
func openDeployer(t *testing.T, c hub.AIConfig, o options) *rig {
	t.Helper()
	o.ai = hub.NewDeployer(c)
	return open(t, o)
}

// story is what a timeline says of versions and engines.
type story struct {
	Type   wire.Type
	Frame  int64
	Model  json.RawMessage
	Engine infer.Identity
	Error  *wire.Failure
}

// told checks that every result is of the version that the configured event before it
// names, that none comes before the frame that this names, and gives those events as
// frame version/provider.
func told(t *testing.T, events []wire.Event) (all []string) {
	t.Helper()
	var model, now string
	from := int64(0)
	for _, e := range events {
		var s story
		must(t, json.Unmarshal(e.Message, &s))
		switch e.Type {
		case wire.TypeConfigured:
			var ref wire.ModelRef
			must(t, json.Unmarshal(s.Model, &ref))
			if infertest.Other(ref.Version).SHA256 != s.Engine.Model {
				t.Errorf("configured %s", e.Message)
			}
			model, now, from = ref.Name+"@"+ref.Version, ref.Version+"/"+s.Engine.Provider, s.Frame
			all = append(all, fmt.Sprintf("%d %s", s.Frame, now))
		case wire.TypeDetections:
			var ref string
			must(t, json.Unmarshal(s.Model, &ref))
			if s.Frame < from || s.Error == nil && ref != model {
				t.Errorf("with %s from frame %d: %s", model, from, e.Message)
			}
		}
	}
	return all
}

// While a provider builds for a minute, another one serves; then the sessions move to it
// between two frames, and the old engines are freed.
func TestASlowProviderLeavesNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &maker{t: t, price: infertest.Price{Run: 40 * ms}}
		r := openDeployer(t, hub.AIConfig{}, options{})
		c := r.start(wire.Start{})
		c.upload(video(8000))
		begun := time.Now()
		must(t, r.ai.Deploy(t.Context(), k.slow("1", nil), false))
		if took := time.Since(begun); took != 100*ms {
			t.Errorf("the first engine serves after %v", took)
		}
		time.Sleep(30*time.Second + 500*ms)
		st := r.ai.Status()
		if st.Availability != hub.Enabled || st.Provider != "cpu" || st.Upgrade == nil || st.Upgrade.To != "tensorrt" || st.Upgrade.Percent != 50 || st.Upgrade.ETA < 29*time.Second {
			t.Errorf("status %+v, upgrade %+v", st, st.Upgrade)
		}
		if want := "[{tensorrt building } {cuda failed no such device} {cpu serving }]"; fmt.Sprint(st.Providers) != want {
			t.Errorf("providers %v, want %v", st.Providers, want)
		}
		time.Sleep(30 * time.Second)
		if st := r.ai.Status(); st.Provider != "tensorrt" || st.Upgrade != nil || fmt.Sprint(st.Providers) != "[{tensorrt serving } {cuda failed no such device} {cpu spare }]" {
			t.Errorf("status %+v", st)
		}
		if k.live() != 1 {
			t.Errorf("%d engines are open", k.live())
		}
		events := c.read()
		all := told(t, events)
		if end := c.end(events); end.Accounting.Inferred != 8000 || len(all) != 2 || all[0] != "0 1/cpu" || !strings.HasSuffix(all[1], " 1/tensorrt") {
			t.Errorf("configured %q, end %+v", all, end)
		}
		r.close()
	})
}

func TestAProviderThatCannotBeBuiltIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &maker{t: t}
		r := openDeployer(t, hub.AIConfig{}, options{})
		must(t, r.ai.Deploy(t.Context(), k.slow("1", errors.New("out of memory")), false))
		time.Sleep(2 * time.Minute)
		st := r.ai.Status()
		if want := "[{tensorrt failed out of memory} {cuda failed no such device} {cpu serving }]"; fmt.Sprint(st.Providers) != want || st.Upgrade != nil {
			t.Errorf("status %+v, want %s", st, want)
		}
		// Without another one, the build is waited for.
		only := k.slow("2", nil)
		only.Providers = only.Providers[:2]
		begun := time.Now()
		must(t, r.ai.Deploy(t.Context(), only, false))
		if st := r.ai.Status(); time.Since(begun) < time.Minute || st.Provider != "tensorrt" || st.Model != "squares@2" {
			t.Errorf("after %v: %+v", time.Since(begun), st)
		}
		r.close()
	})
}

func TestAFileKeepsItsVersionAndALiveSessionMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &maker{t: t, price: infertest.Price{Run: 10 * ms}}
		r := openDeployer(t, hub.AIConfig{}, options{limits: hub.Limits{Rates: session.Rates{Least: -1}}}) // the file takes its time
		must(t, r.ai.Deploy(t.Context(), k.version("1"), false))
		file, live := r.start(wire.Start{}), r.start(wire.Start{Mode: wire.Live})
		for _, c := range []client{file, live} {
			c.send(video(20))
		}
		time.Sleep(time.Second)
		must(t, r.ai.Deploy(t.Context(), k.version("2"), false))
		time.Sleep(20 * time.Minute) // its trial is over
		if st := r.ai.Status(); !slices.Equal(st.Kept, []string{"squares@1"}) || k.live() != 2 || st.Model != "squares@2" {
			t.Errorf("%d engines are open, status %+v", k.live(), st)
		}
		file.upload("pppppppppp")
		live.send("ppppppppp")
		synctest.Wait()
		live.upload("p")
		late := r.run(wire.Start{}, video(3))
		for _, c := range []struct {
			client
			want string
		}{{file, "0 1/cpu"}, {live, "0 1/cpu,2. 2/cpu"}, {late, "0 2/cpu"}} {
			events := c.read()
			got := strings.Join(told(t, events), ",")
			if matched, _ := regexp.MatchString("^"+c.want+"$", got); !matched || c.end(events).Outcome != wire.Done {
				t.Errorf("configured %s, want %s", got, c.want)
			}
		}
		synctest.Wait()
		if st := r.ai.Status(); k.live() != 1 || st.Kept != nil {
			t.Errorf("%d engines are open, status %+v", k.live(), st)
		}
		r.close()
	})
}

// Under load, each of 50 swaps costs nobody a frame: a session's results go on within a
// batch's time, and each has one version.
func TestFiftySwapsUnderLoad(t *testing.T) {
	const run = 20 * ms
	synctest.Test(t, func(t *testing.T) {
		k := &maker{t: t, price: infertest.Price{Run: run}}
		r := openDeployer(t, hub.AIConfig{Trial: hub.Trial{Time: time.Second}}, options{})
		must(t, r.ai.Deploy(t.Context(), k.version("0"), false))
		var all []client
		for i := range 8 {
			mode := wire.Live
			if i%4 == 3 {
				mode = wire.File
			}
			all = append(all, r.start(wire.Start{Mode: mode}))
		}
		stop, fed := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(fed)
			for unit := "K"; ; unit = "p" {
				for _, c := range all {
					c.send(unit)
				}
				select {
				case <-time.After(40 * ms):
				case <-stop:
					return
				}
			}
		}()
		for i := range 50 {
			time.Sleep(time.Duration(300+7*i) * ms)
			must(t, r.ai.Deploy(t.Context(), k.version(fmt.Sprint(i+1)), false))
		}
		time.Sleep(100 * ms)
		close(stop)
		<-fed
		for i, c := range all {
			c.Feeder.EOF()
			events := c.read()
			end, n := c.end(events), len(told(t, events))
			want := 51
			if i%4 == 3 {
				want = 1
			}
			failed := end.Accounting.Failed["engine_error"]
			if end.Outcome != wire.Done || failed != 0 || n != want || end.Accounting.Dropped["stale"] > 0 {
				t.Errorf("client %d: %d versions, end %+v", i, n, end)
			}
			// Two pictures, if the next one comes while others are inferred in a batch of
			// their own; the run that was under way, and its own.
			if gap := longestGap(t, events); gap > 2*40*ms+2*run {
				t.Errorf("client %d: %v without a result", i, gap)
			}
		}
		time.Sleep(2 * time.Second)
		if k.live() != 1 || len(k.engines) != 51 {
			t.Errorf("%d of %d engines are open", k.live(), len(k.engines))
		}
		r.close()
	})
}

// longestGap is the longest time between two frames with a result, by their own times and
// how long each took.
func longestGap(t *testing.T, events []wire.Event) (longest time.Duration) {
	t.Helper()
	var last time.Duration
	for _, e := range events {
		if e.Type != wire.TypeDetections {
			continue
		}
		var d wire.Detections
		must(t, json.Unmarshal(e.Message, &d))
		at := time.Duration(d.PTS) + time.Duration(d.Timing.Total)
		if d.Frame > 0 {
			longest = max(longest, at-last)
		}
		last = at
	}
	return longest
}

func TestAVersionThatCannotServeLeavesTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &maker{t: t}
		r := openDeployer(t, hub.AIConfig{}, options{})
		bad := k.version("1")
		bad.Check = func(context.Context) error { return errors.New("it has no head") }
		if err := r.ai.Deploy(t.Context(), bad, false); err == nil {
			t.Error("it was deployed")
		}
		if st := r.ai.Status(); st.Availability != hub.Error || st.Reason != "it has no head" {
			t.Errorf("status %+v", st)
		}
		must(t, r.ai.Deploy(t.Context(), k.version("2"), false))
		bad = k.version("3")
		bad.Providers[0].Open = func(context.Context, func(float64)) (*infer.Batcher, error) { return nil, errors.New("NaN") }
		if err := r.ai.Deploy(t.Context(), bad, false); err == nil {
			t.Error("it was deployed")
		}
		st := r.ai.Status()
		if st.Availability != hub.Enabled || st.Model != "squares@2" || st.Update == nil || st.Update.To != "squares@3" || !strings.Contains(st.Update.Reason, "NaN") {
			t.Errorf("status %+v, update %+v", st, st.Update)
		}
		if s := r.ai.SwapCounts(); s.Refused != 2 || s.Deployed != 0 {
			t.Errorf("counted %+v", s)
		}
		r.close()
	})
}

func TestAVersionWhoseFramesFailIsRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &maker{t: t, price: infertest.Price{Run: 10 * ms}}
		k.before = func(version string) error {
			if version == "2" {
				time.Sleep(10 * ms)
				return errors.New("it cannot be")
			}
			return nil
		}
		r := openDeployer(t, hub.AIConfig{}, options{})
		must(t, r.ai.Deploy(t.Context(), k.version("1"), false))
		must(t, r.ai.Deploy(t.Context(), k.version("2"), false))
		file := r.start(wire.Start{})
		file.upload(video(500))
		events := file.read()
		end, failed := file.end(events), int64(0)
		if failed = end.Accounting.Failed["engine_error"]; failed < 8 || failed > 60 || end.Accounting.Inferred != 500-failed {
			t.Errorf("end %+v", end)
		}
		all := told(t, events)
		if len(all) != 2 || all[0] != "0 2/cpu" || all[1] != fmt.Sprintf("%d 1/cpu", failed) {
			t.Errorf("configured %q", all)
		}
		st := r.ai.Status()
		if st.Model != "squares@1" || st.Update == nil || !strings.Contains(st.Update.Reason, "rolled back: ") || r.ai.SwapCounts().RolledBack != 1 {
			t.Errorf("status %+v, update %+v", st, st.Update)
		}
		if err := r.ai.Deploy(t.Context(), k.version("2"), false); err == nil || !strings.Contains(err.Error(), "it was rolled back: ") {
			t.Errorf("deployed again: %v", err)
		}
		must(t, r.ai.Deploy(t.Context(), k.version("2"), true))
		r.close()
	})
}

func TestRollingBackByHand(t *testing.T) {
	for name, wait := range map[string]time.Duration{"on trial": time.Second, "later": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &maker{t: t}
				r := openDeployer(t, hub.AIConfig{}, options{})
				if _, err := r.ai.Rollback(t.Context(), "no"); err == nil {
					t.Error("back to nothing")
				}
				must(t, r.ai.Deploy(t.Context(), k.version("1"), false))
				must(t, r.ai.Deploy(t.Context(), k.version("2"), false))
				time.Sleep(wait)
				if ref, err := r.ai.Rollback(t.Context(), "asked for"); ref != "squares@1" || err != nil {
					t.Errorf("rolled back to %q, %v", ref, err)
				}
				synctest.Wait()
				if st := r.ai.Status(); st.Model != "squares@1" || k.live() != 1 {
					t.Errorf("%d engines are open, status %+v", k.live(), st)
				}
				r.close()
			})
		})
	}
}

// A file session of an earlier process goes on with the version that it began with, if
// there still is one, and says so if not.
func TestARestartedHubKeepsTheVersionsOfItsFiles(t *testing.T) {
	for name, gone := range map[string]bool{"found": false, "gone": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &maker{t: t}
				r := openDeployer(t, hub.AIConfig{}, options{})
				must(t, r.ai.Deploy(t.Context(), k.version("1"), false))
				c := r.start(wire.Start{})
				c.send(video(5))
				synctest.Wait()
				c.Reader.Close()
				r.Drain(t.Context())
				o := r.options
				o.store, o.dir = r.copyStore(), r.dir
				r.close()
				r = openDeployer(t, hub.AIConfig{Find: func(_ context.Context, key infer.ModelKey) (*hub.Version, error) {
					if gone || key != infertest.Other("1").Key() {
						return nil, errors.New("there is none")
					}
					return k.version("1"), nil
				}}, o)
				must(t, r.ai.Deploy(t.Context(), k.version("2"), false))
				back := r.resume(c, 0)
				back.upload("ppppp")
				events := back.read()
				want := "0 1/cpu"
				if gone {
					want = "0 1/cpu,5 2/cpu"
				}
				if got := strings.Join(told(t, events), ","); got != want || back.end(events).Accounting.Inferred != 10 {
					t.Errorf("configured %s, want %s", got, want)
				}
				time.Sleep(time.Minute)
				if k.live() != 1 {
					t.Errorf("%d engines are open", k.live())
				}
				r.close()
			})
		})
	}
}

func TestWhoComesEarlyWaitsForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openDeployer(t, hub.AIConfig{Wait: time.Minute, Lazy: true}, options{})
		if why := r.NotReady(); len(why) != 0 || closed(r.ai.Wanted()) {
			t.Errorf("not ready: %q", why)
		}
		c := r.start(wire.Start{})
		c.send("K")
		synctest.Wait()
		if !closed(r.ai.Wanted()) || len(r.NotReady()) == 0 {
			t.Error("nobody wants an engine")
		}
		r.ai.TellSource(hub.SourceStatus{Phase: "downloading", Percent: 40, ETA: 3 * time.Second})
		synctest.Wait()
		ai := c.Session.Status().AI
		if st := c.Session.Status().State; st != wire.WaitingForEngine || ai == nil || ai.Availability != "DOWNLOADING" || *ai.Percent != 40 || *ai.ETA != wire.Millis(3*time.Second) {
			t.Errorf("%s, %+v", st, ai)
		}
		// A source that is asked again may still give one.
		r.ai.TellSource(hub.SourceStatus{Phase: "failed", Error: "503", Next: time.Now().Add(time.Hour)})
		begun := time.Now()
		if _, err := r.Picture(t.Context(), "me", strings.NewReader("K"), nil); code(err) != wire.EngineUnavailable || time.Since(begun) != 0 {
			t.Errorf("picture after %v: %v", time.Since(begun), err)
		}
		end := c.end(c.read())
		if end.Code != wire.EngineUnavailable || !strings.Contains(end.Message, "within 1m0s: aiAvailability is ERROR: 503") {
			t.Errorf("end %+v", end)
		}
		r.close()
	})
}

// Whoever closes the AI does not wait for what is being built.
func TestClosingDoesNotWaitForABuilder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &maker{t: t}
		r := openDeployer(t, hub.AIConfig{}, options{})
		must(t, r.ai.Deploy(t.Context(), k.slow("1", nil), false))
		time.Sleep(10 * time.Second)
		only := k.slow("2", nil)
		only.Providers = only.Providers[:1]
		ctx, stop := context.WithCancel(t.Context())
		deployed := make(chan error, 1)
		go func() { deployed <- r.ai.Deploy(ctx, only, false) }()
		time.Sleep(10 * time.Second)
		begun := time.Now()
		stop()
		if err := <-deployed; !errors.Is(err, context.Canceled) {
			t.Errorf("deployed: %v", err)
		}
		r.close()
		if took := time.Since(begun); took != 0 || k.live() != 0 {
			t.Errorf("closed after %v, %d engines are open", took, k.live())
		}
	})
}

// What is the newest already is not loaded again.
func TestTheSameVersionIsNotDeployedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &maker{t: t}
		r := openDeployer(t, hub.AIConfig{}, options{})
		for _, force := range []bool{false, false, true} {
			must(t, r.ai.Deploy(t.Context(), k.version("1"), force))
		}
		if len(k.engines) != 2 {
			t.Errorf("%d engines were loaded", len(k.engines))
		}
		r.close()
	})
}
