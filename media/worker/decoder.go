package worker

import (
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"detections/media"
)

// maxRules bounds the sampling rules that are on their way to a process. What comes
// beyond waits here, and only the newest of it.
const maxRules = 64

// decoder is a job in a process. It is the parent's side of a media.Host.
type decoder struct {
	// Static after construction.
	pool   *Pool
	proc   *process
	pid    int
	ring   *ring
	views  []media.View
	frames []*media.Frame // one for each slot
	log    *slog.Logger
	inRoom bool // it was added to the pool
	began  time.Time
	mono   int64 // CLOCK_MONOTONIC at began
	writer sync.WaitGroup

	// Owned by Next.
	in    [maxMessage + 1]byte
	hello bool
	index int64            // of the latest frame
	at    media.Checkpoint // of the latest frame
	lines int              // of log
	cpu   cpuMeter
	wait  waitState

	mu    sync.Mutex
	next  feed              // guarded by mu: what the process has not been told
	news  bool              // guarded by mu: next says something
	full  bool              // guarded by mu: the writer waits for the process to read
	order [feedLen]byte     // guarded by mu: buffer
	rules []newRule         // guarded by mu: not sent, in order
	ids   []uint32          // guarded by mu: rules that have not come back, in order
	size  int64             // guarded by mu: what Grow has told
	final bool              // guarded by mu
	held  uint64            // guarded by mu: slots whose frame is with the caller
	stats media.DecodeStats // guarded by mu
	err   error             // guarded by mu: why there are no more outputs
	once  sync.Once
}

type newRule struct {
	id   uint32
	rule media.Sample
}

var _ media.Decoder = (*decoder)(nil)

// moment is a time on the hub's clock and on the one that all processes share.
type moment struct {
	at   time.Time
	mono int64 // CLOCK_MONOTONIC, ns
}

func now() moment { return moment{time.Now(), monotonic()} }

// newDecoder is the hub's side of a job that a process was given after begun: what the
// process says of times is held against that.
func newDecoder(p *Pool, proc *process, r *ring, j media.Job, begun moment) *decoder {
	d := &decoder{
		pool: p, proc: proc, pid: proc.cmd.Process.Pid, ring: r, views: j.Views, log: p.cfg.Log,
		began: begun.at, mono: begun.mono, index: -1,
	}
	if j.Resume != nil {
		d.index, d.at, d.stats = j.Resume.Index, *j.Resume, j.Resume.Stats
	}
	d.wait.ok, d.cpu = d.began, newCPUMeter(d.pid)
	for slot := range r.slots {
		f := media.NewFrame(func() { d.release(slot) })
		f.Views = r.pictures(slot, j.Views)
		d.frames = append(d.frames, f)
	}
	return d
}

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// Grow implements media.Decoder. It never waits for the process.
func (d *decoder) Grow(size int64, final bool) {
	d.mu.Lock()
	d.size, d.final = max(d.size, size), d.final || final
	d.next.size, d.next.final = d.size, d.final
	d.tell()
	d.mu.Unlock()
}

// Configure implements media.Decoder. It never waits for the process.
func (d *decoder) Configure(id uint32, rule media.Sample) {
	d.mu.Lock()
	if len(d.ids) >= maxRules && len(d.rules) > 0 {
		d.rules, d.ids = d.rules[:len(d.rules)-1], d.ids[:len(d.ids)-1]
	}
	d.rules = append(d.rules, newRule{id, rule})
	d.ids = append(d.ids, id)
	d.tell()
	d.mu.Unlock()
}

// release gives a slot back to the process.
func (d *decoder) release(slot int) {
	d.mu.Lock()
	d.held &^= 1 << slot
	d.next.released |= 1 << slot
	d.tellReleased()
	d.mu.Unlock()
	d.ring.drop()
}

// tellReleased tells the process of slots that it may use again: half of them at a time,
// because each message wakes it and interrupts its work, but at once if it has no other.
// d.mu is held.
func (d *decoder) tellReleased() {
	released := bits.OnesCount64(d.next.released)
	if released >= d.ring.slots/2 || released > 0 && released+bits.OnesCount64(d.held) == d.ring.slots {
		d.tell()
	}
}

// tell sends what is new to the process, as much as possible at a time. If that does not
// read, a goroutine waits for it and nobody else: sending itself takes some µs, for which
// the caller's locks are held. d.mu is held.
func (d *decoder) tell() {
	d.news = true
	for d.news && !d.full && d.err == nil {
		b := d.takeFeed(d.order[:0])
		if err := d.proc.tell(b); errors.Is(err, unix.EAGAIN) {
			d.full = true
			unsent := slices.Clone(b)
			d.writer.Go(func() { d.write(unsent) })
		} // of another error Next sees why
	}
}

// write sends a message when there is room, and what there is more to say until then.
func (d *decoder) write(b []byte) {
	for b != nil {
		d.proc.awaitRoom()
		if err := d.proc.tell(b); !errors.Is(err, unix.EAGAIN) {
			b = d.takeMore(b[:0]) // if the process has died, Next sees why
		}
	}
}

// takeMore is nil if the process has been told everything.
func (d *decoder) takeMore(buf []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full = d.news && d.err == nil; !d.full {
		return nil
	}
	return d.takeFeed(buf)
}

// takeFeed is what is to be said. d.mu is held.
func (d *decoder) takeFeed(buf []byte) []byte {
	f := d.next
	if d.ruleFits() {
		f.rule, f.id, f.sample = true, d.rules[0].id, d.rules[0].rule
		d.rules = d.rules[1:]
	}
	d.next.released = 0
	d.news = d.ruleFits()
	return f.append(buf)
}

// ruleFits says that there is a rule to send and that the process has not got too
// many. d.mu is held.
func (d *decoder) ruleFits() bool {
	return len(d.rules) > 0 && len(d.ids)-len(d.rules) < maxRules
}

// Next implements media.Decoder.
func (d *decoder) Next(ctx context.Context) (media.Output, error) {
	if err := d.ending(); err != nil {
		return media.Output{}, err
	}
	if err := d.arm(ctx); err != nil {
		return media.Output{}, err
	}
	for {
		n, err := d.proc.reports.Read(d.in[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := d.expired(ctx); err != nil {
				return media.Output{}, err
			}
			continue
		case err != nil:
			return media.Output{}, d.died()
		}
		o, err := d.message(d.in[:n])
		if err != nil {
			return media.Output{}, d.end(err)
		}
		if o != (media.Output{}) {
			return o, nil
		}
	}
}

// Stats implements media.Decoder.
func (d *decoder) Stats() media.DecodeStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Close implements media.Decoder.
func (d *decoder) Close() error {
	_ = d.end(errClosed)
	return nil
}

func (d *decoder) ending() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// end ends the process, once, and returns why the job ended: the first reason counts.
func (d *decoder) end(why error) error {
	d.mu.Lock()
	if d.err == nil {
		d.err = why
	}
	why = d.err
	d.mu.Unlock()
	d.once.Do(func() {
		d.proc.kill()
		d.writer.Wait()
		d.disarm()
		d.ring.drop()
		d.pool.remove(d)
	})
	return why
}

// died ends a job whose process has gone, or has closed its end.
func (d *decoder) died() error {
	if err := d.ending(); err != nil {
		return d.end(err) // it was us
	}
	how := d.proc.kill()
	d.log.Warn("decoder process died", "how", how, "stderr", d.proc.last.String())
	if !d.hello {
		return d.end(&media.Error{Kind: media.ErrStarting, Message: "the decoder process " + how + " before it was ready"})
	}
	if how == outOfTime {
		return d.end(&media.Error{Kind: media.ErrStalled, Message: "one packet or picture took more than " + d.pool.cfg.FrameCPU.String() + " of processor time to decode (max-frame-cpu)"})
	}
	return d.end(&media.Error{Kind: media.ErrCrashed, Message: "the decoder process " + how + "; the input may be damaged"})
}
