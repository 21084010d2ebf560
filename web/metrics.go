package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"detections/hub"
	"detections/infer"
	"detections/media/worker/sandbox"
	"detections/session/wire"
)

// Metrics are the Prometheus metrics of one hub. ObserveRun and ObserveResult may
// be called from any goroutine.
type Metrics struct {
	http.Handler
	registry *prometheus.Registry
	batch    prometheus.Histogram
	run      prometheus.Histogram
	failures prometheus.Counter
	stages   *prometheus.HistogramVec
	appends  prometheus.Histogram
	syncs    prometheus.Histogram
	requests requests
	// deliveries is registered by WatchOutbox.
	deliveries *prometheus.HistogramVec
}

// NewMetrics makes the metrics that exist from the start. Watch adds a hub's.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), deliveries: newDeliveries(), requests: newRequests(),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "detections_batch_images", Help: "Images in one run of the engine.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64},
		}),
		run: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "detections_run_seconds", Help: "Time of one run of the engine.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 12),
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "detections_run_failures_total", Help: "Runs of the engine that failed.",
		}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "detections_result_seconds", Help: "Time of a result by stage: receive, decode, queue, infer, and total from the last needed byte to the timeline.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}, []string{"stage"}),
		appends: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "detections_append_seconds", Help: "Time of an event into the store; nobody is told of it before.",
			Buckets: prometheus.ExponentialBuckets(0.000_02, 2, 16),
		}),
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "detections_sync_seconds", Help: "Time of a sync of the store's log to the disk.",
			Buckets: prometheus.ExponentialBuckets(0.000_1, 2, 16),
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "detections_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	m.registry.MustRegister(m.batch, m.run, m.failures, m.stages, m.appends, m.syncs, info, m.requests.count, m.requests.took,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, stage := range stages {
		m.stages.WithLabelValues(stage) // exist at zero
	}
	m.Handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

var stages = []string{"jitter", "receive", "decode", "queue", "infer", "order", "total"}

// ObserveRun counts a run of the engine.
func (m *Metrics) ObserveRun(r infer.Run) {
	m.batch.Observe(float64(r.Images))
	m.run.Observe(r.Infer.Seconds())
	if r.Err != nil {
		m.failures.Inc()
	}
}

// ObserveAppend counts an event that was recorded.
func (m *Metrics) ObserveAppend(d time.Duration) { m.appends.Observe(d.Seconds()) }

// ObserveSync counts a sync of the store.
func (m *Metrics) ObserveSync(d time.Duration) { m.syncs.Observe(d.Seconds()) }

// ObserveResult counts a result.
func (m *Metrics) ObserveResult(t wire.Timing) {
	for i, d := range []wire.Millis{t.Jitter, t.Receive, t.Decode, t.Queue, t.Infer, t.Order, t.Total} {
		m.stages.WithLabelValues(stages[i]).Observe(time.Duration(d).Seconds())
	}
}

// WatchSandbox adds the layers around decoder processes: 1 for those in force.
func (m *Metrics) WatchSandbox(r sandbox.Report) {
	layers := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "detections_sandbox_layer", Help: "1 for a layer of the sandbox that decoder processes are in, 0 for one that is missing.",
	}, []string{"layer"})
	for _, layer := range r.Active {
		layers.WithLabelValues(layer).Set(1)
	}
	for _, why := range r.Missing {
		layer, _, _ := strings.Cut(why, ":")
		layers.WithLabelValues(layer).Set(0)
	}
	m.registry.MustRegister(layers)
}

// WatchDecoders adds the decoder processes: count says how many work, and how many wait for a job.
func (m *Metrics) WatchDecoders(count func() (working, waiting int)) {
	for state, n := range map[string]func() int{
		"working": func() int { working, _ := count(); return working },
		"waiting": func() int { _, waiting := count(); return waiting },
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "detections_decoders", Help: "Decoder processes that work, and that wait for a job.", ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(n()) }))
	}
}

// Watch adds what a hub counts.
func (m *Metrics) Watch(h *hub.Hub) { m.registry.MustRegister(hubCollector{h}, aiCollector{h.AI()}) }

// hubCollector asks the hub when it is scraped, so that nothing is counted twice.
type hubCollector struct{ hub *hub.Hub }

var (
	framesDesc = prometheus.NewDesc("detections_frames_total",
		"Decoded frames by what became of them; pictures count too. Their sum and pending is what was decoded.", []string{"outcome", "reason"}, nil)
	pendingDesc   = prometheus.NewDesc("detections_frames_pending", "Decoded frames that wait for their result.", nil, nil)
	undecodedDesc = prometheus.NewDesc("detections_undecoded_total", "Access units that gave no picture.", []string{"reason"}, nil)
	sessionsDesc  = prometheus.NewDesc("detections_sessions", "Running sessions by state.", []string{"state"}, nil)
	readyDesc     = prometheus.NewDesc("detections_ready_list", "Sessions that wait for a runner.", nil, nil)
	idleDesc      = prometheus.NewDesc("detections_idle_runners", "Engines without work.", nil, nil)
	enginesDesc   = prometheus.NewDesc("detections_engines", "Engines by state: those that work, hang in a run, or fail on every picture.", []string{"state"}, nil)
	rateDesc      = prometheus.NewDesc("detections_capacity_images_per_second", "What the engines can do, as learned from their runs; 0: not known yet.", nil, nil)
	endedDesc     = prometheus.NewDesc("detections_sessions_ended_total", "Sessions that have ended, by outcome and code.", []string{"outcome", "code"}, nil)
	drainDesc     = prometheus.NewDesc("detections_draining", "1 while the hub shuts down.", nil, nil)
)

// Describe implements prometheus.Collector.
func (hubCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{framesDesc, pendingDesc, undecodedDesc, sessionsDesc, readyDesc, idleDesc, enginesDesc, rateDesc, endedDesc, drainDesc} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (h hubCollector) Collect(c chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := h.hub.Stats()
	a := s.Accounting
	counter(framesDesc, a.Inferred, "inferred", "")
	counter(framesDesc, a.Skipped, "skipped", "")
	for outcome, reasons := range map[string]map[string]int64{"dropped": a.Dropped, "failed": a.Failed} {
		for reason, n := range reasons {
			counter(framesDesc, n, outcome, reason)
		}
	}
	for reason, n := range a.Undecoded {
		counter(undecodedDesc, n, reason)
	}
	gauge(pendingDesc, float64(a.Pending))
	for _, st := range wire.States {
		gauge(sessionsDesc, float64(s.States[st]), string(st))
	}
	gauge(readyDesc, float64(s.Batcher.Ready))
	gauge(idleDesc, float64(s.Batcher.Idle))
	gauge(enginesDesc, float64(s.Batcher.Engines-s.Batcher.Failing), "working")
	gauge(enginesDesc, float64(s.Batcher.Stuck), "stuck")
	gauge(enginesDesc, float64(s.Batcher.Failing), "failing")
	gauge(rateDesc, s.Batcher.Rate)
	for k, n := range s.Ended {
		counter(endedDesc, n, string(k.Outcome), string(k.Code))
	}
	gauge(drainDesc, oneIf(s.Draining))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
