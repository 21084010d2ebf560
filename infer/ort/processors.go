//go:build cgo

package ort

import (
	"runtime"
	"sync"
	"time"
)

// procs is of the one scheduler there is.
var procs = processors{cores: runtime.GOMAXPROCS(0), change: func(n int) { runtime.GOMAXPROCS(n) }}

// ShareCores has Go's scheduler make do with half of the cores while no engine is open on
// a GPU: for a program whose engines and decoder processes do the work on the same cores.
// It returns what undoes that.
func ShareCores() (undo func()) {
	procs.share(true)
	return func() { procs.share(false) }
}

// processors says how many processors Go's scheduler has.
//
// There is one more for each engine that runs: in native code it keeps one to itself until
// the runtime's monitor takes it back, which takes milliseconds, and nothing is to wait for
// that. Otherwise there are no more than are needed: while one has nothing to do, each
// goroutine that becomes ready has a thread woken, which looks for work and finds none.
type processors struct {
	cores  int // when the program began
	change func(int)

	mu      sync.Mutex
	shared  bool // by ShareCores
	gpus    int  // engines that are open on one
	running int  // engines
	extra   int  // processors for them
	left    time.Time
	idle    *time.Timer // takes extra back
}

// rest is how long no engine has run before its processor is taken back. To change their
// number stops the program for a moment, and waits for the end of a collection of garbage.
const rest = time.Second

func (p *processors) share(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shared = on
	p.resize()
}

// opened is told how many more engines are open on a GPU. With the work done there the
// cores are for preparing pictures.
func (p *processors) opened(more int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gpus += more
	p.resize()
}

// resize needs mu.
func (p *processors) resize() {
	n := p.cores
	if p.shared && p.gpus == 0 {
		n = max(1, n/2)
	}
	p.change(n + p.extra)
}

// enter is called before an engine goes into native code for long.
func (p *processors) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running++; p.running > p.extra {
		p.extra = p.running
		p.resize()
	}
}

// leave is called after it.
func (p *processors) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	p.left = time.Now()
	if p.idle == nil {
		p.idle = time.AfterFunc(rest, p.takeBack)
		return
	}
	p.idle.Reset(rest)
}

func (p *processors) takeBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == 0 && time.Since(p.left) >= rest {
		p.extra = 0
		p.resize()
	}
}
