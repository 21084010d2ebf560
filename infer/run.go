package infer

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"detections/media"
)

// run answers every frame of the batch. It returns false if the runner was lost: the
// frames were answered by stuck then.
func (r *runner) run() bool {
	start := time.Now()
	r.load()
	n := len(r.batch)
	if n == 0 {
		r.b.machine.end()
		return true
	}
	loaded, cost := time.Now(), r.on.costs.step(n)
	err, alive := r.infer(n)
	if !alive {
		return false
	}
	ran := time.Now()
	if err == nil {
		r.on.costs.observe(cost, ran.Sub(loaded))
		r.tellExpected()
		r.each(n, (*runner).look)
		for i := range r.batch {
			r.settle(&r.batch[i], &r.looked[i], n)
		}
	}
	r.report(Run{
		Images: n, Wait: r.wait, Convert: loaded.Sub(start), Infer: ran.Sub(loaded), Post: time.Since(ran), Err: err,
	})
	switch {
	case err != nil:
		return r.isolate()
	case r.borrows():
		r.b.solos.Add(1)
	case r.alone:
		r.b.wantSolo(r.engine)
	}
	return true
}

// infer runs the engine under watch. alive is false if the watch was over first.
func (r *runner) infer(n int) (err error, alive bool) { //nolint:revive,staticcheck // ST1008: alive is what the caller asks first
	r.state.Store(runnerWatched)
	r.watch.Reset(r.limit(n))
	err = r.on.engine.Run(n)
	r.watch.Stop()
	if alive = r.state.CompareAndSwap(runnerWatched, runnerWorks); alive {
		r.b.machine.end() // else stuck has done it
	}
	return err, alive
}

// load converts the frames into the engine's input and releases them. Those that
// cannot be converted are answered and taken out of the batch.
func (r *runner) load() {
	n := 0
	for i := range r.batch {
		t := &r.batch[i]
		if err := r.fits(t.frame); err != nil {
			t.frame.Release()
			t.frame = nil
			r.fail(t, 0, err)
			continue
		}
		r.batch[n] = *t
		n++
	}
	r.batch = r.batch[:n]
	r.each(n, (*runner).convert)
}

// fits says what is wrong with a frame.
func (r *runner) fits(f *media.Frame) error {
	if len(f.Views) == 0 {
		return fmt.Errorf("%w: it has no view", ErrView)
	}
	in, v := r.b.model.Input, &f.Views[0]
	if len(v.Pix) != in.Size() {
		return fmt.Errorf("%w: %d bytes of pixels, not %d×%d×3", ErrView, len(v.Pix), in.Width, in.Height)
	}
	if v.W < 1 || v.H < 1 {
		return fmt.Errorf("%w: no place in it for the source", ErrView)
	}
	return nil
}

func (r *runner) convert(i int) {
	t := &r.batch[i]
	v := &t.frame.Views[0]
	r.b.pixels.Convert(r.on.engine.Input(i), v.Pix)
	t.place = v.Geometry
	t.frame.Release()
	t.frame = nil
}

// each does f for every image of the batch: where the engine leaves the processors free,
// on several of them, or it would wait for one longer than it runs.
func (r *runner) each(n int, f func(r *runner, i int)) {
	hands := min(n, r.hands)
	if hands <= 1 {
		for i := range n {
			f(r, i)
		}
		return
	}
	var next atomic.Int64
	var all sync.WaitGroup
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(r, i)
		}
	}
	for range hands - 1 {
		all.Go(work)
	}
	work()
	all.Wait()
}

// isolate runs each image of a failed batch alone, once, so that one image that
// the engine cannot take does not cost the others their result. The frames are
// released already; their pixels are still in the input tensor. What the solo engine
// could not do the runner's own does.
func (r *runner) isolate() bool {
	from := r.on.engine
	r.on = &r.instance
	for i := range r.batch {
		if i > 0 || from != r.engine {
			copy(r.engine.Input(0), from.Input(i))
		}
		r.b.machine.busy.Add(1)
		start := time.Now()
		err, alive := r.infer(1)
		if !alive {
			return false
		}
		ran := time.Now()
		if err != nil {
			r.engineFailed(&r.batch[i], 1, err)
		} else {
			r.examine(&r.batch[i], 0, &r.looked[i])
			r.settle(&r.batch[i], &r.looked[i], 1)
		}
		r.report(Run{Images: 1, Infer: ran.Sub(start), Post: time.Since(ran), Err: err})
	}
	return true
}

// look is what the outputs of a run say of an image.
type look struct {
	post  Postprocessor
	found []Detection
	err   error
}

func (r *runner) look(i int) { r.examine(&r.batch[i], i, &r.looked[i]) }

func (r *runner) examine(t *taken, row int, l *look) {
	if l.err = r.check(row); l.err == nil {
		l.found = l.post.Detect(r.on.engine, row, t.detect, t.place)
	}
}

// settle gives a frame what the engine found, if that can be true.
func (r *runner) settle(t *taken, l *look, batch int) {
	if l.err != nil {
		r.engineFailed(t, batch, l.err)
		return
	}
	r.failures.Store(0)
	r.b.images.Add(1)
	r.answer(t, batch, nil, l.found)
}

// sampled is the distance of the values that check looks at: a prime, so that all
// columns have their turn. A network whose numbers have run away gives NaN nearly
// everywhere; the few that a head meets elsewhere it leaves out.
const sampled = 61

// check says what is wrong with the outputs for an image.
func (r *runner) check(row int) error {
	for k, want := range r.rows {
		out := r.on.engine.Output(k, row)
		if len(out) != want {
			return fmt.Errorf("output %s has %d values for the image, expected %d", r.b.model.Outputs[k], len(out), want)
		}
		for i := 0; i < len(out); i += sampled {
			if v := out[i]; v != v {
				return fmt.Errorf("output %s has values that are not numbers (NaN)", r.b.model.Outputs[k])
			}
		}
	}
	return nil
}

func (r *runner) engineFailed(t *taken, batch int, err error) {
	r.failures.Add(1)
	r.warn("engine failed on an image", err)
	r.fail(t, batch, fmt.Errorf("%w: %w", ErrEngine, err))
}

func (r *runner) report(run Run) {
	r.b.runs.Add(1)
	r.b.onRun(run)
}

func (r *runner) tellExpected() {
	if p := r.costs.published.Load(); p != nil && int64(p.run) != r.b.expected.Load() {
		r.b.expected.Store(int64(p.run))
	}
}

// answerer is what answering frames needs.
type answerer struct {
	b        *Batcher
	identity Identity
	result   Result
	warned   time.Time
	silent   int // failures not logged since warned
}

// fail answers a frame with an error.
func (a *answerer) fail(t *taken, batch int, err error) {
	a.b.failed.Add(1)
	a.answer(t, batch, err, nil)
}

// answer gives a frame its result.
func (a *answerer) answer(t *taken, batch int, err error, found []Detection) {
	a.result = Result{
		Detections: found, Err: err, Model: a.b.model, Identity: a.identity, Batch: batch, Bound: t.bound, Finished: time.Now(),
	}
	t.src.Done(t.info, &a.result)
	t.src = nil
}

// warn logs a failure, at most one a second.
func (a *answerer) warn(what string, err error) {
	if now := time.Now(); now.Sub(a.warned) >= time.Second {
		a.b.log.Warn("inference failed", "what", what, "err", err, "engine", a.identity.String(), "not_logged", a.silent)
		a.warned, a.silent = now, 0
		return
	}
	a.silent++
}
