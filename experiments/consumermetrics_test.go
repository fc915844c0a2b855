package experiments

import (
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cdclab/cdclab/reports"
)

// TestConsumerStages: what was observed between two scrapes is what the Run says.
func TestConsumerStages(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	stages := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: stageMetric, Buckets: []float64{0.001, 0.002, 0.004},
	}, []string{"stage"})
	start := prometheus.NewGauge(prometheus.GaugeOpts{Name: startMetric})
	start.Set(1000)
	registry.MustRegister(stages, start)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	stages.WithLabelValues("consumer_to_applied").Observe(3) // before the load: not to be seen
	before, err := scrape(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		stages.WithLabelValues("consumer_to_applied").Observe(0.0015)
	}
	after, err := scrape(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	one := []consumerMetrics{before}
	got := stagesBetween(one, []consumerMetrics{after})
	if len(got) != 1 || got[0].Stage != reports.ConsumerToApplied || got[0].Count != 100 {
		t.Fatalf("stages %+v, want 100 of %s", got, reports.ConsumerToApplied)
	}
	if l := got[0].Latency; math.Abs(l.P50-1.5) > 0.01 || math.Abs(l.Mean-1.5) > 0.01 || l.Max > 2 {
		t.Errorf("latency %+v, want 1.5 ms", l)
	}
	// Another process counts from zero, also when it has counted more than the first one had.
	start.Set(1010)
	restarted, err := scrape(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if again := stagesBetween(one, []consumerMetrics{restarted}); len(again) != 1 || again[0].Count != 101 {
		t.Errorf("after a restart %+v, want all 101 that the new process counted", again)
	}
	two := []consumerMetrics{before, {}}
	if both := stagesBetween(two, []consumerMetrics{after, restarted}); len(both) != 1 || both[0].Count != 201 {
		t.Errorf("two consumers %+v, want the 100 of one and the 101 of the other", both)
	}
}

func TestScrapeFails(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("{not metrics"))
	}))
	defer server.Close()
	if _, err := scrape(t.Context(), server.URL); err == nil {
		t.Error("no error for a page that holds no metrics")
	}
}
