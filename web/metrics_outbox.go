package web

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"detections/hub/outbox"
)

// WatchOutbox adds what an outbox counts. To be called once.
func (m *Metrics) WatchOutbox(o Outbox) { m.registry.MustRegister(outboxCollector{o}, m.deliveries) }

// newDeliveries makes the histogram that ObserveDelivery fills.
func newDeliveries() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "detections_outbox_request_seconds", Help: "Time of requests to the Annotations service, by the class of the answer.",
		Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 10),
	}, []string{"answer"})
}

// ObserveDelivery counts a request to the Annotations service. It may be called from
// any goroutine.
func (m *Metrics) ObserveDelivery(took time.Duration, status int, err error) {
	class := "none"
	if err == nil {
		class = string(rune('0'+status/100)) + "xx"
	}
	m.deliveries.WithLabelValues(class).Observe(took.Seconds())
}

// outboxCollector asks the outbox when it is scraped.
type outboxCollector struct{ outbox Outbox }

var (
	backlogDesc  = prometheus.NewDesc("detections_outbox_events", "Events that are not delivered yet.", nil, nil)
	behindDesc   = prometheus.NewDesc("detections_outbox_sessions", "Sessions with events that are not delivered yet.", nil, nil)
	stalledDesc  = prometheus.NewDesc("detections_outbox_stalled_sessions", "Sessions that wait for room among the dead letters.", nil, nil)
	oldestDesc   = prometheus.NewDesc("detections_outbox_oldest_seconds", "For how long the session that has waited longest had nothing delivered.", nil, nil)
	breakerDesc  = prometheus.NewDesc("detections_outbox_breaker", "1 for the state of the circuit breaker.", []string{"state"}, nil)
	sentDesc     = prometheus.NewDesc("detections_outbox_sent_total", "Events that the Annotations service has stored.", nil, nil)
	repeatedDesc = prometheus.NewDesc("detections_outbox_retried_total", "Requests that had to be repeated.", nil, nil)
	refusedDesc  = prometheus.NewDesc("detections_outbox_refused_total", "Events that the Annotations service has refused.", nil, nil)
	blurredDesc  = prometheus.NewDesc("detections_outbox_unpictured_total", "Events that were to have a picture, and were delivered without.", nil, nil)
	lettersDesc  = prometheus.NewDesc("detections_outbox_dead_letters", "Refused events that are kept.", nil, nil)
)

// Describe implements prometheus.Collector.
func (outboxCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{backlogDesc, behindDesc, stalledDesc, oldestDesc, breakerDesc, sentDesc, repeatedDesc, refusedDesc, blurredDesc, lettersDesc} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (o outboxCollector) Collect(c chan<- prometheus.Metric) {
	st := o.outbox.State()
	for d, v := range map[*prometheus.Desc]float64{
		backlogDesc: float64(st.Events), behindDesc: float64(st.Sessions), stalledDesc: float64(st.Stalled),
		oldestDesc: st.Oldest, lettersDesc: float64(st.Letters),
	} {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	for d, v := range map[*prometheus.Desc]uint64{sentDesc: st.Sent, repeatedDesc: st.Retried, refusedDesc: st.Refused, blurredDesc: st.Unpictured} {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	for _, state := range []string{outbox.Closed, outbox.Open, outbox.HalfOpen} {
		c <- prometheus.MustNewConstMetric(breakerDesc, prometheus.GaugeValue, oneIf(st.Breaker == state), state)
	}
}
