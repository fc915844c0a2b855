package observe

import (
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports"
)

// TestConsumerStages: the Run has the observations made between two scrapes.
func TestConsumerStages(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	stages := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: telemetry.MetricStageSeconds, Buckets: []float64{0.001, 0.002, 0.004},
	}, []string{"stage"})
	start := prometheus.NewGauge(prometheus.GaugeOpts{Name: startMetric})
	start.Set(1000)
	registry.MustRegister(stages, start)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	// An observation before the load is not to be seen.
	stages.WithLabelValues(telemetry.StageConsumerToApplied).Observe(3)
	before, err := readStages(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		stages.WithLabelValues(telemetry.StageConsumerToApplied).Observe(0.0015)
	}
	after, err := readStages(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	one := []ConsumerStages{before}
	got := StagesBetween(one, []ConsumerStages{after})
	if len(got) != 1 || got[0].Stage != reports.ConsumerToApplied || got[0].Count != 100 {
		t.Fatalf("stages %+v, want 100 of %s", got, reports.ConsumerToApplied)
	}
	if l := got[0].Latency; math.Abs(l.P50-1.5) > 0.01 || math.Abs(l.Mean-1.5) > 0.01 || l.Max > 2 {
		t.Errorf("latency %+v, want 1.5 ms", l)
	}
	// Another process counts from zero, also after counting more than the first process had.
	start.Set(1010)
	restarted, err := readStages(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if again := StagesBetween(one, []ConsumerStages{restarted}); len(again) != 1 ||
		again[0].Count != 101 {
		t.Errorf("after a restart %+v, want all 101 that the new process counted", again)
	}
	two := []ConsumerStages{before, {}}
	if both := StagesBetween(two, []ConsumerStages{after, restarted}); len(both) != 1 ||
		both[0].Count != 201 {
		t.Errorf("two consumers %+v, want the 100 of one and the 101 of the other", both)
	}
}

func TestScrapeFails(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("{not metrics"))
	}))
	defer server.Close()
	if _, err := readStages(t.Context(), server.URL); err == nil {
		t.Error("no error for a page that holds no metrics")
	}
}

// TestStagesOverTime: each sample has the stages since the sample before, and a consumer that did
// not answer leaves a gap.
func TestStagesOverTime(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	stages := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: telemetry.MetricStageSeconds, Buckets: []float64{0.001, 0.002, 0.004},
	}, []string{"stage"})
	registry.MustRegister(stages)
	answers := true
	page := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answers {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		page.ServeHTTP(w, r)
	}))
	defer server.Close()
	s := samplerOf(&metricsProbe{urls: map[string][]string{"consumer": {server.URL}},
		consumers: []string{"consumer"}})
	for _, seconds := range []float64{0.0015, 0.0015, 0.003, 0.003, 0.003} {
		stages.WithLabelValues(telemetry.StageConsumerToApplied).Observe(seconds)
		answers = len(s.at) != 3
		s.sample()
	}
	looks := s.Looks(s.at[0])
	mean := looks.Gauge("consumer", reports.StageGauge(reports.ConsumerToApplied,
		reports.GaugeMean))
	if mean == nil {
		t.Fatalf("no gauge among %+v", looks.Gauges)
	}
	want := []float64{-1, 1.5, 3, -1, -1}
	for i, v := range mean.Values {
		if math.Abs(v-want[i]) > 1e-6 {
			t.Fatalf("means %v, want %v", mean.Values, want)
		}
	}
	if p99 := looks.Gauge("consumer", reports.StageGauge(reports.ConsumerToApplied,
		reports.GaugeP99)); p99 == nil || p99.Values[2] < 2 || p99.Values[2] > 4 ||
		p99.Unit != "ms" {
		t.Errorf("p99 %+v, want 2 to 4 ms in the third sample", p99)
	}
}
