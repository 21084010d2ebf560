package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requests counts what each door was asked, and how it answered.
type requests struct {
	count *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newRequests() requests {
	return requests{
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "detections_requests_total", Help: "Answered HTTP requests by door (method and path) and class of status; a WebSocket counts as 1xx when it was opened, 501 (not offered here) as 4xx.",
		}, []string{"door", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "detections_request_seconds", Help: "Time until the answer of a request began, by door.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"door"}),
	}
}

// exist lets a door's counters begin at zero: a rate needs a value before the first failure.
func (q requests) exist(door string) {
	for _, status := range []string{"2xx", "4xx", "5xx"} {
		q.count.WithLabelValues(door, status)
	}
	q.took.WithLabelValues(door)
}

// watch counts the requests of a mux under the pattern that they match. Doors are known
// before they are used, and whoever asks for nonsense makes no new one.
func (q requests) watch(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, door := mux.Handler(r)
		a := &answer{ResponseWriter: w, begun: time.Now()}
		defer func() {
			status := a.status
			if status == 0 {
				status = http.StatusOK // nothing was said: net/http says it
			}
			q.count.WithLabelValues(door, class(status)).Inc()
			if a.took > 0 {
				q.took.WithLabelValues(door).Observe(a.took.Seconds())
			}
		}()
		mux.ServeHTTP(a, r)
	})
}

// class is 1xx to 5xx. What this hub does not offer is no fault of it, and rolls no
// deployment back: only the client can do something about it.
func class(status int) string {
	if status == http.StatusNotImplemented {
		status = http.StatusBadRequest
	}
	return strconv.Itoa(status/100) + "xx"
}

// answer remembers the status of an answer, and when it began.
type answer struct {
	http.ResponseWriter
	begun  time.Time
	status int
	took   time.Duration
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status, a.took = status, time.Since(a.begun)
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status, a.took = http.StatusOK, time.Since(a.begun)
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
