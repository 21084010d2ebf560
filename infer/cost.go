package infer

import (
	"math"
	"sync/atomic"
	"time"
)

// costModel is what an engine's runs cost, T(n) = a + b·n, learned from the runs. If the
// engine is [Stepped], n is what the images are run as. Its methods are for the runner's
// goroutine; everybody may read published.
type costModel struct {
	sizes []sizeCost    // by number of images − 1
	as    func(int) int // nil: a run of n images is one of n
	a, b  float64       // seconds
	// fitted says that runs of two sizes were seen: before, a is a guess on the high
	// side, so that larger batches are tried.
	fitted bool
	// knee is the smallest batch with which nearly everything is gained that batches
	// can gain. Larger ones would only delay those who share them.
	knee int
	// probe counts down the runs until a batch larger than the knee is tried; every is the
	// count that it starts from.
	probe, every int
	before       int // the knee before the last run
	// late is by how much a run is longer than expected, in the mean, in seconds.
	late      float64
	published atomic.Pointer[publishedCost]
}

type sizeCost struct {
	mean   float64 // seconds
	seen   int
	weight float64 // of recent runs
}

// publishedCost is the model as others see it. There is one once a run was seen.
type publishedCost struct {
	run  time.Duration // that a run of knee images takes, but for one in a hundred or so
	rate float64       // images per second, with such runs
}

const (
	nearly = 1.03 // times the least cost of an image
	// firstRuns are slower: memory is touched and code is loaded for the first time.
	firstRuns = 3
	smoothing = 16   // runs over which a mean is taken
	fading    = 0.99 // of a size's weight, with each run
	step      = 0.1  // by how much a mean may move with one run, of itself
	// probeFirst and probeLast are after how many runs a larger batch is tried: the longer
	// nothing was gained by it, the more seldom.
	probeFirst, probeLast = 64, 1024
	republish             = 0.02 // change that others are told of
	// unlucky is how many times the mean of what runs are too long one must be prepared
	// for: 99 of 100 are shorter if they are spread as by a queue.
	unlucky = 4.6
)

func newCostModel(size int) *costModel {
	return &costModel{sizes: make([]sizeCost, size), knee: size, probe: probeFirst, every: probeFirst}
}

// observe learns from a run that cost as much as n images. One that was disturbed moves a
// mean by a tenth at most.
func (m *costModel) observe(n int, d time.Duration) {
	s, t := &m.sizes[n-1], d.Seconds()
	if s.seen >= firstRuns { // a machine that is busy with something else, too
		m.late += (min(max(0, t-s.mean), s.mean) - m.late) / smoothing
	}
	switch {
	case s.seen == 0:
		s.mean = t
	case s.seen < firstRuns:
		s.mean = min(s.mean, t)
	default:
		bound := step * s.mean
		s.mean += min(bound, max(-bound, (t-s.mean)/min(float64(s.seen), smoothing)))
	}
	s.seen++
	for i := range m.sizes {
		m.sizes[i].weight *= fading
	}
	s.weight++
	m.fit()
	m.schedule(n)
	m.publish()
}

// schedule settles when a batch larger than the knee is tried next, after a run of n.
func (m *costModel) schedule(n int) {
	m.probe--
	if n > m.before {
		m.every = min(2*m.every, probeLast)
		if m.knee > m.before { // it was worth it
			m.every = probeFirst
		}
		m.probe = m.every
	}
	m.before = m.knee
}

// fit finds a and b by least squares over the sizes' means.
func (m *costModel) fit() {
	var w, wn, wt, wnn, wnt float64
	sizes := 0
	for i, s := range m.sizes {
		if s.seen == 0 {
			continue
		}
		sizes++
		n := float64(i + 1)
		w, wn, wt = w+s.weight, wn+s.weight*n, wt+s.weight*s.mean
		wnn, wnt = wnn+s.weight*n*n, wnt+s.weight*n*s.mean
	}
	switch spread := w*wnn - wn*wn; {
	case sizes < 2 || spread < 1e-9*w*wnn:
		if m.fitted {
			return // the other sizes have faded: what they taught still holds
		}
		n, t := wn/w, wt/w
		m.a, m.b = t/2, t/2/n
		return
	default:
		m.b = (w*wnt - wn*wt) / spread
		m.a = (wt - m.b*wn) / w
	}
	if m.b < 0 {
		m.a, m.b = wt/w, 0
	}
	if m.a < 0 {
		m.a, m.b = 0, wnt/wnn
	}
	m.fitted = true
	size := len(m.sizes)
	m.knee = size
	for n := 1; n < size; n++ {
		if m.perImage(n) <= nearly*m.perImage(size) {
			m.knee = n
			break
		}
	}
}

// next is how many images the next run should have if there are enough. Nothing would be
// learned of more than the knee, which one disturbed run can have made too low: so twice as
// many are tried now and then.
func (m *costModel) next() int {
	n := m.worth()
	if n < m.knee || !m.fitted || m.probe > 0 {
		return n
	}
	return min(2*m.knee, len(m.sizes))
}

// worth is how many images one may wait for. Where there always are enough, every run
// would have as many as the engine takes, and nothing would be learned of fewer: so single
// ones are tried in between, a few times.
func (m *costModel) worth() int {
	one, most := m.sizes[0].seen, m.sizes[len(m.sizes)-1].seen
	if one < min(most, firstRuns) {
		return 1
	}
	return m.knee
}

// time is what a run of n images is expected to take, in seconds.
func (m *costModel) time(n int) float64 { return m.a + m.b*float64(m.step(n)) }

// step is what n images are run as.
func (m *costModel) step(n int) int {
	if m.as == nil {
		return n
	}
	return min(m.as(n), len(m.sizes))
}

func (m *costModel) perImage(n int) float64 { return m.time(n) / float64(n) }

func (m *costModel) publish() {
	t := m.time(m.knee)
	if t <= 0 {
		return
	}
	rate, run := float64(m.knee)/t, t+unlucky*m.late
	if p := m.published.Load(); p == nil || math.Abs(rate-p.rate) > republish*p.rate || math.Abs(run-p.run.Seconds()) > 2*republish*run {
		m.published.Store(&publishedCost{run: seconds(run), rate: rate})
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// gapModel is how soon another frame becomes ready, by how many are ready when a
// runner could start. It is learned at every such moment, whether the runner waits or
// not, so that a wait that never pays is found out, and one that would is too.
type gapModel struct {
	mean    []float64 // seconds, by frames that were ready − 1; −1: not known
	asked   int       // frames that were ready at the last such moment, 0: it was answered
	askedAt time.Time
	most    float64 // an answer's bound, in seconds
}

func newGapModel(size int) *gapModel {
	g := &gapModel{mean: make([]float64, size)}
	for i := range g.mean {
		g.mean[i] = -1
	}
	return g
}

// ask notes that a runner could start now with n frames. A gap longer than bound
// does not matter more than bound.
func (g *gapModel) ask(n int, now time.Time, bound float64) {
	g.asked, g.askedAt, g.most = n, now, bound
}

// arrived notes that another frame is ready.
func (g *gapModel) arrived(now time.Time) {
	if g.asked == 0 {
		return
	}
	t, mean := min(now.Sub(g.askedAt).Seconds(), g.most), &g.mean[g.asked-1]
	if *mean < 0 {
		*mean = t
	} else {
		*mean += (t - *mean) / 8
	}
	g.asked = 0
}

// expected is how soon one more comes when n are ready, in seconds; 0 if that was
// never seen.
func (g *gapModel) expected(n int) float64 { return max(0, g.mean[n-1]) }
