package web

import (
	"github.com/prometheus/client_golang/prometheus"

	"detections/hub"
)

// aiCollector asks how the engines are when it is scraped.
type aiCollector struct{ ai *hub.AI }

var (
	aiDesc       = prometheus.NewDesc("detections_ai_availability", "1 for the engine's state.", []string{"state"}, nil)
	engineDesc   = prometheus.NewDesc("detections_engine_info", "1, with the model and the execution provider that serve as labels.", []string{"model", "provider", "precision"}, nil)
	providerDesc = prometheus.NewDesc("detections_provider", "1 for the state of each execution provider of the version that serves.", []string{"provider", "state"}, nil)
	keptDesc     = prometheus.NewDesc("detections_kept_models", "Earlier versions of the model that sessions still use.", nil, nil)
	swapsDesc    = prometheus.NewDesc("detections_model_changes_total", "Versions of the model that replaced another, were refused, or were rolled back; and upgrades of engines that were made, or failed.", []string{"change"}, nil)
	upgradeDesc  = prometheus.NewDesc("detections_upgrade_ratio", "How far better engines are; absent if none are being made or that is not known.", []string{"to"}, nil)
)

// Describe implements prometheus.Collector.
func (aiCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{aiDesc, engineDesc, providerDesc, keptDesc, swapsDesc, upgradeDesc} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (h aiCollector) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	st, swaps := h.ai.Status(), h.ai.SwapCounts()
	for _, a := range hub.Availabilities {
		gauge(aiDesc, oneIf(a == st.Availability), string(a))
	}
	if st.Model != "" {
		gauge(engineDesc, 1, st.Model, st.Provider, st.Precision)
	}
	for _, p := range st.Providers {
		gauge(providerDesc, 1, p.Name, string(p.State))
	}
	gauge(keptDesc, float64(len(st.Kept)))
	if u := st.Upgrade; u != nil && u.Percent >= 0 {
		gauge(upgradeDesc, u.Percent/100, u.To)
	}
	for change, n := range map[string]int64{
		"deployed": swaps.Deployed, "refused": swaps.Refused, "rolled_back": swaps.RolledBack,
		"upgraded": swaps.Upgraded, "upgrade_failed": swaps.UpgradesFailed,
	} {
		c <- prometheus.MustNewConstMetric(swapsDesc, prometheus.CounterValue, float64(n), change)
	}
}
