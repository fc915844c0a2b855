package cdc

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.k6.io/k6/metrics"
)

// dashboard is the tested part of a Grafana dashboard.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
	Templating struct{ List []struct{ Name string } }
}

// k6Dashboard reads the dashboard of k6's metrics as Grafana reads it.
func k6Dashboard(t *testing.T) (text string, board dashboard) {
	t.Helper()
	text = readFile(t, "../stack/grafana/provisioning/dashboards/k6.json")
	if err := json.Unmarshal([]byte(text), &board); err != nil || len(board.Panels) < 10 {
		t.Fatalf("%d panels, %v", len(board.Panels), err)
	}
	return text, board
}

// onTheWire are the names of k6's metrics by remote write, trends as native histograms.
func onTheWire() map[string]bool {
	names := map[string]bool{}
	for metric, kind := range map[string]metrics.MetricType{
		MetricLatency: metrics.Trend, MetricQuery: metrics.Trend, MetricDelay: metrics.Trend,
		MetricCommit:   metrics.Trend,
		MetricPipeline: metrics.Trend, MetricSuccess: metrics.Rate, MetricTimeout: metrics.Rate,
		MetricWrites:           metrics.Counter,
		metrics.IterationsName: metrics.Counter, metrics.DroppedIterationsName: metrics.Counter,
		metrics.VUsName: metrics.Gauge, metrics.VUsMaxName: metrics.Gauge,
	} {
		names["k6_"+metric+map[metrics.MetricType]string{metrics.Trend: "_seconds",
			metrics.Rate: "_rate", metrics.Counter: "_total"}[kind]] = true
	}
	return names
}

// TestK6ShowsEveryMetric: the dashboard asks for every metric of the module, by the metric's name
// in Prometheus, and for no other but k6's own; and every query chooses by the dashboard's
// variables.
func TestK6ShowsEveryMetric(t *testing.T) {
	t.Parallel()
	text, board := k6Dashboard(t)
	names, unasked := onTheWire(), onTheWire()
	for _, name := range regexp.MustCompile(`k6_[a-z0-9_]+`).FindAllString(text, -1) {
		if !names[name] {
			t.Errorf("there is no metric %s", name)
		}
		delete(unasked, name)
	}
	for name := range unasked {
		t.Errorf("the dashboard does not show %s", name)
	}
	var variables []string
	for _, one := range board.Templating.List {
		variables = append(variables, one.Name)
	}
	choice := regexp.MustCompile(`(\w+)=~"\$(\w+)"`)
	for _, panel := range board.Panels {
		if len(panel.Targets) == 0 || panel.Title == "" {
			t.Errorf("panel %q has no query or no title", panel.Title)
		}
		for _, one := range panel.Targets {
			for _, chosen := range choice.FindAllStringSubmatch(one.Expr, -1) {
				if chosen[1] != chosen[2] || !slices.Contains(variables, chosen[2]) {
					t.Errorf("panel %q: %s: the variables are %v", panel.Title, one.Expr, variables)
				}
			}
			if !strings.Contains(one.Expr, `{testid=~"$testid"`) {
				t.Errorf("panel %q: %s is of every test", panel.Title, one.Expr)
			}
		}
	}
}
