package infer

import (
	"fmt"
	"time"

	"detections/media"
)

// runner runs batches on one engine:
//
//	ready list ─Take→ taken ─convert, Release→ tensor ─Run→ outputs ─Head, NMS→ Done
//
// Everything in it is owned by its goroutine and used again for the next batch.
type runner struct {
	// Static after construction.
	b      *Batcher
	engine Engine
	pixels *Normalizer
	size   int // largest batch

	// Owned by loop.
	batch  []taken
	wait   time.Duration // longest time that a place of the batch was ready
	post   Postprocessor
	result Result
	warned time.Time
	silent int // failures not logged since warned
}

// taken is a frame bound to the batch.
type taken struct {
	src    Source
	frame  *media.Frame // nil once released
	detect *Detect
	info   media.FrameInfo
	place  media.Geometry
	bound  time.Time
}

func newRunner(b *Batcher, e Engine, pixels *Normalizer, size int) *runner {
	return &runner{b: b, engine: e, pixels: pixels, size: size, batch: make([]taken, 0, size)}
}

func (r *runner) loop() {
	for r.gather() {
		r.run()
	}
}

// gather waits for a ready place and takes a batch, which may be empty if the
// sources had nothing after all. It returns false when the batcher is closed.
func (r *runner) gather() bool {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.ready.len == 0 && !b.closed {
		b.idle++
		b.work.Wait()
		b.idle--
	}
	if b.closed {
		return false
	}
	r.batch, r.wait = r.batch[:0], 0
	// The share is settled once: a place that comes back with more frames must not
	// make it grow while other runners have just been woken for them.
	for share := b.shareLocked(r.size); len(r.batch) < share && b.ready.len > 0 && !b.closed; {
		since := b.ready.head.since
		req, p, ok := b.takeLocked()
		if !ok {
			continue
		}
		now := time.Now()
		r.wait = max(r.wait, now.Sub(since))
		r.batch = append(r.batch, taken{
			src: p.src, frame: req.Frame, detect: req.Detect, info: req.Frame.FrameInfo, bound: now,
		})
	}
	return true
}

// run answers every frame of the batch.
func (r *runner) run() {
	start := time.Now()
	r.load()
	n := len(r.batch)
	if n == 0 {
		return
	}
	loaded := time.Now()
	err := r.engine.Run(n)
	ran := time.Now()
	if err == nil {
		for i := range r.batch {
			r.answer(&r.batch[i], i, n, nil)
		}
	}
	r.report(Run{
		Images: n, Wait: r.wait, Convert: loaded.Sub(start), Infer: ran.Sub(loaded), Post: time.Since(ran), Err: err,
	})
	if err != nil {
		r.isolate()
	}
}

// load converts the frames into the engine's input and releases them. Those that
// cannot be converted are answered and taken out of the batch.
func (r *runner) load() {
	n := 0
	for i := range r.batch {
		t := &r.batch[i]
		err := r.convert(t, n)
		t.frame.Release()
		t.frame = nil
		if err != nil {
			r.answer(t, 0, 0, err)
			continue
		}
		r.batch[n] = *t
		n++
	}
	r.batch = r.batch[:n]
}

func (r *runner) convert(t *taken, slot int) error {
	if len(t.frame.Views) == 0 {
		return fmt.Errorf("%w: it has no view", ErrView)
	}
	in, v := r.b.model.Input, &t.frame.Views[0]
	if len(v.Pix) != in.Size() {
		return fmt.Errorf("%w: %d bytes of pixels, not %d×%d×3", ErrView, len(v.Pix), in.Width, in.Height)
	}
	if v.W < 1 || v.H < 1 {
		return fmt.Errorf("%w: no place in it for the source", ErrView)
	}
	r.pixels.Convert(r.engine.Input(slot), v.Pix)
	t.place = v.Geometry
	return nil
}

// isolate runs each image of a failed batch alone, once, so that one image that
// the engine cannot take does not cost the others their result. The frames are
// released already; their pixels are still in the input tensor.
func (r *runner) isolate() {
	for i := range r.batch {
		if i > 0 {
			copy(r.engine.Input(0), r.engine.Input(i))
		}
		start := time.Now()
		err := r.engine.Run(1)
		ran := time.Now()
		if err != nil {
			r.warn(err)
			r.answer(&r.batch[i], 0, 1, fmt.Errorf("%w: %w", ErrEngine, err))
		} else {
			r.answer(&r.batch[i], 0, 1, nil)
		}
		r.report(Run{Images: 1, Infer: ran.Sub(start), Post: time.Since(ran), Err: err})
	}
}

// answer gives a frame its result: the engine's output row, or err.
func (r *runner) answer(t *taken, row, batch int, err error) {
	res := &r.result
	*res = Result{Err: err, Model: r.b.model, Identity: r.engine.Identity(), Batch: batch, Bound: t.bound}
	if err == nil {
		res.Detections = r.post.Detect(r.engine, row, t.detect, t.place)
		r.b.images.Add(1)
	} else {
		r.b.failed.Add(1)
	}
	res.Finished = time.Now()
	t.src.Done(t.info, res)
	t.src = nil
}

func (r *runner) report(run Run) {
	r.b.runs.Add(1)
	r.b.onRun(run)
}

// warn logs a failed image, at most once a second.
func (r *runner) warn(err error) {
	if now := time.Now(); now.Sub(r.warned) >= time.Second {
		r.b.log.Warn("engine failed on an image", "err", err, "engine", r.engine.Identity().String(), "not_logged", r.silent)
		r.warned, r.silent = now, 0
		return
	}
	r.silent++
}
