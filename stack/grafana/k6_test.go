package grafana

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.k6.io/k6/metrics"

	cdc "github.com/cdclab/cdclab/xk6-cdc"
)

// onTheWire are the names of k6's metrics by remote write, trends as native histograms.
func onTheWire() map[string]bool {
	names := map[string]bool{}
	for metric, kind := range map[string]metrics.MetricType{
		cdc.MetricLatency: metrics.Trend, cdc.MetricQuery: metrics.Trend, cdc.MetricDelay: metrics.Trend, cdc.MetricCommit: metrics.Trend,
		cdc.MetricPipeline: metrics.Trend, cdc.MetricSuccess: metrics.Rate, cdc.MetricTimeout: metrics.Rate, cdc.MetricWrites: metrics.Counter,
		metrics.IterationsName: metrics.Counter, metrics.DroppedIterationsName: metrics.Counter, metrics.VUsName: metrics.Gauge, metrics.VUsMaxName: metrics.Gauge,
	} {
		names["k6_"+metric+map[metrics.MetricType]string{metrics.Trend: "_seconds", metrics.Rate: "_rate", metrics.Counter: "_total"}[kind]] = true
	}
	return names
}

// TestK6ShowsEveryMetric: the dashboard asks for every metric of the module, by the name that it has in Prometheus, and for
// no other but k6's own; and every query chooses by the dashboard's variables.
func TestK6ShowsEveryMetric(t *testing.T) {
	t.Parallel()
	board, err := K6()
	if err != nil {
		t.Fatal(err)
	}
	names, unasked := onTheWire(), onTheWire()
	text, err := json.Marshal(board)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`k6_[a-z0-9_]+`).FindAllString(string(text), -1) {
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
	for _, panel := range panels(t, text) {
		if len(panel.Targets) == 0 || panel.Title == "" {
			t.Errorf("panel %q has no query or no title", panel.Title)
		}
		for _, one := range panel.Targets {
			for _, chosen := range regexp.MustCompile(`(\w+)=~"\$(\w+)"`).FindAllStringSubmatch(one.Expr, -1) {
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

// panel is of a dashboard what a query needs.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
}

func panels(t *testing.T, board []byte) []panel {
	t.Helper()
	var read struct{ Panels []panel }
	if err := json.Unmarshal(board, &read); err != nil || len(read.Panels) < 10 {
		t.Fatalf("%d panels, %v", len(read.Panels), err)
	}
	return read.Panels
}
