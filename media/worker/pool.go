package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"detections/media"
	"detections/media/worker/sandbox"
)

// Argument is the hidden argument that makes this binary a decoder process:
// main calls Child if it is the only one.
const Argument = "decoder-process"

// Config is how a Pool is made.
type Config struct {
	// Path and Args are the command of a decoder process. Default: this binary with Argument.
	Path string
	Args []string
	// Idle is how many processes wait for a job. Default 2.
	Idle int
	// Max bounds the jobs at a time; Start waits for room. Default 64.
	Max int
	// Stall is how long a process may do nothing with what it has been given.
	// Default 20 s.
	Stall time.Duration
	// Sandbox is how much of the sandbox a process must have. Default: best effort.
	Sandbox sandbox.Mode
	// Memory bounds the data of a process, in bytes. Default 512 MiB.
	Memory int64
	// FrameCPU bounds the processor time for one packet or picture. Default 10 s.
	FrameCPU time.Duration
	// Limits bound what is decoded; a job's own have precedence.
	Limits media.Limits
	// Log receives what FFmpeg says and how processes end. Default: nowhere.
	Log *slog.Logger
}

// DefaultMemory and DefaultFrameCPU are in force where nothing else is configured: 256
// MB are enough for 4K.
const (
	DefaultMemory   = 512 << 20
	DefaultFrameCPU = 10 * time.Second
)

// Pool keeps decoder processes ready, so that a session does not wait for one to start.
type Pool struct {
	cfg     Config
	room    chan struct{} // holds a token for each job
	idle    chan *process // the spawner holds one more
	failed  chan error    // why the spawner has none; never buffered
	quit    chan struct{} // closed by Close
	spawner sync.WaitGroup

	mu     sync.Mutex
	active map[*decoder]struct{} // guarded by mu; nil once closed
}

// Count is how many processes decode, and how many wait for a job, beside the one that the
// spawner holds.
func (p *Pool) Count() (working, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.active), len(p.idle)
}

// NewPool starts the first processes in the background.
func NewPool(cfg Config) *Pool {
	cfg.Path = cmp.Or(cfg.Path, "/proc/self/exe")
	if cfg.Args == nil {
		cfg.Args = []string{Argument}
	}
	cfg.Idle = max(1, cmp.Or(cfg.Idle, 2))
	cfg.Max = max(1, cmp.Or(cfg.Max, 64))
	cfg.Stall = cmp.Or(cfg.Stall, 20*time.Second)
	cfg.Sandbox = cmp.Or(cfg.Sandbox, sandbox.BestEffort)
	cfg.Memory = cmp.Or(cfg.Memory, DefaultMemory)
	cfg.FrameCPU = cmp.Or(cfg.FrameCPU, DefaultFrameCPU)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	p := &Pool{
		cfg: cfg, room: make(chan struct{}, cfg.Max),
		idle: make(chan *process, cfg.Idle-1), failed: make(chan error),
		quit: make(chan struct{}), active: make(map[*decoder]struct{}),
	}
	p.spawner.Go(p.spawn)
	return p
}

// lowered is by how much a decoder process is nicer than its parent.
const lowered = 5

// slack is how late the kernel may wake a thread of a decoder process that sleeps for a
// time. Only the monitor of Go's runtime does. After each wait of the loop it looked three
// times, took its processor of the scheduler away, and had other threads started that found
// nothing: a tenth of what decoding a camera costs, or a fifth on a busy machine.
const slack = time.Second

// retryAfter is how long the spawner waits after a process could not be started.
const retryAfter = time.Second

// spawn starts a process whenever one was taken. It stays on one thread for as long
// as the pool lives, because a process dies with the thread that started it.
func (p *Pool) spawn() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	// Its processes have its priority, from their first instruction on and in all of
	// their threads: neither decoding nor starting must starve the engines.
	if own, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil { // 20 − nice, says the kernel
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, min(20-own+lowered, 19))
	}
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) // costs processor time, if it is refused
	for {
		proc, err := p.cfg.spawn()
		if err != nil {
			p.cfg.Log.Error("decoder process did not start", "err", err)
			retry := time.NewTimer(retryAfter)
			for waiting := true; waiting; {
				select {
				case p.failed <- err:
				case <-retry.C:
					waiting = false
				case <-p.quit:
					return
				}
			}
			continue
		}
		select {
		case p.idle <- proc:
		case <-p.quit:
			proc.kill()
			return
		}
	}
}

// errClosed is what a closed pool and a closed decoder answer.
var errClosed = fmt.Errorf("decoder: %w", os.ErrClosed)

// Start gives a job to a process that is ready. It waits for room if Max jobs are
// running. The file is only read, from its beginning, up to what Grow has told; the
// caller may close it when Start returns.
func (p *Pool) Start(ctx context.Context, file *os.File, j media.Job) (media.Decoder, error) {
	if reflect.ValueOf(j.Limits).IsZero() {
		j.Limits = p.cfg.Limits
	}
	if err := j.Validate(); err != nil {
		return nil, &media.Error{Kind: media.ErrUnsupported, Message: err.Error()}
	}
	select {
	case p.room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.quit:
		return nil, errClosed
	}
	d, err := p.begin(ctx, file, j)
	if err != nil {
		<-p.room
		return nil, err
	}
	return d, nil
}

func (p *Pool) begin(ctx context.Context, file *os.File, j media.Job) (*decoder, error) {
	ring, memory, err := newRing(j.Views)
	if err != nil {
		return nil, &media.Error{Kind: media.ErrStarting, Message: err.Error()}
	}
	defer memory.Close()
	b, err := appendJSON(nil, msgJob, job{j, ring.slots, ring.slotSize})
	if err == nil && len(b) > maxJob {
		err = errMessage
	}
	// One that died while it waited is no reason to fail: there are others.
	for tries := 0; err == nil && tries <= p.cfg.Idle; tries++ {
		var proc *process
		if proc, err = p.take(ctx); err != nil {
			break
		}
		begun := now()
		if err := proc.give(b, file, memory); err != nil {
			p.cfg.Log.Warn("idle decoder process was dead", "how", proc.kill(), "stderr", proc.last.String())
			continue
		}
		d := newDecoder(p, proc, ring, j, begun)
		if !p.add(d) {
			d.Close()
			return nil, errClosed
		}
		return d, nil
	}
	ring.drop()
	if err == nil {
		err = &media.Error{Kind: media.ErrStarting, Message: "decoder processes die as soon as they start"}
	}
	return nil, err
}

// take waits for a process that is ready.
func (p *Pool) take(ctx context.Context) (*process, error) {
	select {
	case proc := <-p.idle:
		return proc, nil
	case err := <-p.failed:
		return nil, &media.Error{Kind: media.ErrStarting, Message: "a decoder process did not start: " + err.Error()}
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.quit:
		return nil, errClosed
	}
}

// Running is how many jobs there are.
func (p *Pool) Running() int { return len(p.room) }

// Close ends all jobs and all processes and waits for them.
func (p *Pool) Close() error {
	p.mu.Lock()
	active := p.active
	p.active = nil
	p.mu.Unlock()
	if active == nil {
		return errors.New("worker: pool closed twice")
	}
	close(p.quit)
	p.spawner.Wait()
	for len(p.idle) > 0 {
		(<-p.idle).kill()
	}
	for d := range active {
		d.Close()
	}
	return nil
}

func (p *Pool) add(d *decoder) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active == nil {
		return false
	}
	p.active[d] = struct{}{}
	d.inRoom = true
	return true
}

// remove forgets a job whose process is gone.
func (p *Pool) remove(d *decoder) {
	p.mu.Lock()
	delete(p.active, d)
	p.mu.Unlock()
	if d.inRoom { // else Start gives its place back
		<-p.room
	}
}
