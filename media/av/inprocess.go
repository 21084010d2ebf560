package av

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"detections/media"
)

// slots is how many frames of a job in this process can be held at once.
const slots = 4

// Open runs the loop of a decoder process in this process. It is for benchmarks
// and tests: hostile bytes are parsed in C without a sandbox, and Close waits for
// the picture that is being decoded.
func Open(file *os.File, job media.Job) (media.Decoder, error) {
	if err := job.Validate(); err != nil {
		return nil, &media.Error{Kind: media.ErrUnsupported, Message: err.Error()}
	}
	p := &inProcess{
		free: make(chan *media.Frame, slots), out: make(chan put, slots),
		closed: make(chan struct{}), ended: make(chan struct{}),
	}
	p.grown.L = &p.mu
	if job.Resume != nil {
		p.stats = job.Resume.Stats
	}
	for range slots {
		var f *media.Frame
		f = media.NewFrame(func() { p.free <- f })
		for _, v := range job.Views {
			f.Views = append(f.Views, media.Picture{Pix: make([]byte, v.Size(), v.Size()+media.SlotSpare)})
		}
		p.free <- f
	}
	go func() {
		defer close(p.ended)
		p.last, p.err = Decode(inProcessHost{p}, file, job)
		if p.err == nil {
			p.err = io.EOF
		}
		close(p.out)
	}()
	return p, nil
}

// inProcess is the Decoder's side.
type inProcess struct {
	// Static after construction.
	free   chan *media.Frame
	out    chan put
	closed chan struct{}
	ended  chan struct{}
	once   sync.Once

	mu    sync.Mutex
	grown sync.Cond
	size  int64  // guarded by mu
	final bool   // guarded by mu
	gone  bool   // guarded by mu: closed
	rules []rule // guarded by mu

	err   error             // set before out is closed
	last  media.DecodeStats // set before out is closed
	stats media.DecodeStats // owned by Next
}

type put struct {
	media.Output
	stats media.DecodeStats
}

type rule struct {
	id   uint32
	rule media.Sample
}

func (p *inProcess) Grow(size int64, final bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size, p.final = max(p.size, size), p.final || final
	p.grown.Broadcast()
}

func (p *inProcess) Configure(id uint32, r media.Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, rule{id, r})
}

func (p *inProcess) Next(ctx context.Context) (media.Output, error) {
	select {
	case o, ok := <-p.out:
		if !ok {
			p.stats = p.last
			return media.Output{}, p.err
		}
		p.stats = o.stats
		if o.Frame != nil {
			o.Frame.Hold()
		}
		return o.Output, nil
	case <-ctx.Done():
		return media.Output{}, ctx.Err()
	}
}

func (p *inProcess) Stats() media.DecodeStats { return p.stats }

func (p *inProcess) Close() error {
	p.once.Do(func() {
		close(p.closed)
		p.mu.Lock()
		p.gone = true
		p.mu.Unlock()
		p.grown.Broadcast()
	})
	<-p.ended
	return nil
}

// inProcessHost is the loop's side.
type inProcessHost struct{ *inProcess }

var errClosed = errors.New("decoder closed")

func (h inProcessHost) Await(have int64) (int64, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.size <= have && !h.final && !h.gone {
		h.grown.Wait()
	}
	if h.gone {
		return 0, false, errClosed
	}
	return h.size, h.final, nil
}

func (h inProcessHost) Slot() (*media.Frame, error) {
	select {
	case f := <-h.free:
		return f, nil
	case <-h.closed:
		return nil, errClosed
	}
}

func (h inProcessHost) Rule() (uint32, media.Sample, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.rules) == 0 {
		return 0, media.Sample{}, false
	}
	r := h.rules[0]
	h.rules = h.rules[1:]
	return r.id, r.rule, true
}

func (h inProcessHost) Put(o media.Output, st media.DecodeStats) error {
	if o.Frame != nil {
		o.Frame.Ready = time.Now()
	}
	if o.Stream != nil {
		o.Stream = new(*o.Stream)
	}
	select {
	case h.out <- put{o, st}:
		return nil
	case <-h.closed:
		return errClosed
	}
}

func (h inProcessHost) Log(string) {}
