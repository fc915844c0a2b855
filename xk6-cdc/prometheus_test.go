package cdc

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/cdclab/cdclab/stack/servertest"
)

// refused adds writes refused by PostgreSQL, so that not every rate is 1 or 0, and has k6 store the
// summary.
const refused = `
options.scenarios.refused = {executor: 'per-vu-iterations', vus: 1, iterations: 5, exec: 'refused'};
options.summaryTrendStats = ['count', 'avg', 'p(94)', 'p(96)'];
export function refused() { lab.write('customer', 'insert', {email: null}); }
export function handleSummary(data) { return {[__ENV.SUMMARY]: JSON.stringify(data.metrics)}; }
`

// TestRunPrometheus: a real Prometheus has k6's own summary from both outputs: counts, sums and
// rates exactly, of each series and of all, and the p95 between the neighbours, but for the width
// of a bucket. Trends are native histograms, in seconds by remote write, in milliseconds over OTLP.
func TestRunPrometheus(t *testing.T) {
	t.Parallel()
	address := servertest.RunPrometheus(t, servertest.FindPrometheus(t))
	k := newOutputs(t, refused, address+"/api/v1/write", address)
	path := filepath.Join(k.folder, "summary")
	k.env = append(k.env, "SUMMARY="+path, "K6_OTEL_HTTP_EXPORTER_URL_PATH=/api/v1/otlp/v1/metrics",
		"K6_OTEL_SINGLE_COUNTER_FOR_RATE=true",
		"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="+
			"base2_exponential_bucket_histogram")
	if code, output := k.run(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	client, err := api.NewClient(api.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	c := counterpart{T: t, api: prometheus.NewAPI(client)}
	if err := json.Unmarshal([]byte(readFile(t, path)), &c.said); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{MetricLatency, MetricQuery, MetricDelay, MetricCommit} {
		c.trend(name, "k6_"+name+"_seconds", 1000)
		c.trend(name, name+"_milliseconds", 1)
	}
	for _, name := range []string{MetricSuccess, MetricTimeout} {
		c.equal(name, "k6_"+name+"_rate", loads, func(v values) float64 { return v["rate"] })
		c.equal(name, name+`_total{condition="nonzero"}`, everything, func(v values) float64 {
			return v["passes"]
		})
		c.equal(name, name+`_total{condition="zero"}`, everything, func(v values) float64 {
			return v["fails"]
		})
	}
	for _, wire := range []string{"k6_cdc_writes_total", "cdc_writes_total"} {
		c.equal(MetricWrites, wire, everything, func(v values) float64 { return v["count"] })
	}
	const refusals = "{scenario:refused,entity:customer,operation:insert}"
	if rate, is := c.ask("k6_cdc_e2e_success_rate_rate")[refusals]; !is || rate != 0 {
		t.Errorf("refused writes have a success rate of %v (%v)", rate, is)
	}
	c.dashboard()
}

// values are the values of one metric in k6's summary.
type values map[string]float64

// counterpart asks Prometheus for the numbers in k6's summary.
type counterpart struct {
	*testing.T
	api  prometheus.API
	said map[string]struct{ Values values }
}

// loads are the series of the load, by k6's suffixes of the metric's name; everything is all series
// and the total.
var (
	loads      = seriesOfLoad()
	everything = append(seriesOfLoad(), "")
)

func seriesOfLoad() (all []string) {
	for _, entity := range []string{"customer", "address", "order", "order_item"} {
		for _, operation := range []string{"insert", "update", "delete"} {
			all = append(all, fmt.Sprintf("{scenario:load,entity:%s,operation:%s}", entity,
				operation))
		}
	}
	return all
}

// ask returns the sum of each series, and of all.
func (c *counterpart) ask(query string) map[string]float64 {
	c.Helper()
	query = "sum by (scenario, entity, operation) (" + query + ")"
	value, warnings, infos, err := c.api.Query(c.Context(), query, time.Time{})
	vector, is := value.(model.Vector)
	if err != nil || !is || len(warnings)+len(infos) > 0 {
		c.Fatalf("%s: %v, %v %v %v", query, value, warnings, infos, err)
	}
	found := map[string]float64{}
	for _, sample := range vector {
		m := sample.Metric
		found[fmt.Sprintf("{scenario:%s,entity:%s,operation:%s}", m["scenario"], m["entity"],
			m["operation"])] = float64(sample.Value)
		found[""] += float64(sample.Value)
	}
	c.Logf("%s: %v", query, vector)
	return found
}

// dashboard wants an answer to each question of Grafana's dashboard.
func (c *counterpart) dashboard() {
	c.Helper()
	_, board := k6Dashboard(c.T)
	asked := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			query := regexp.MustCompile(`"\$\w+"`).ReplaceAllString(strings.ReplaceAll(target.Expr,
				"$__rate_interval", "1m"), `".*"`)
			value, warnings, infos, err := c.api.Query(c.Context(), query, time.Now())
			vector, is := value.(model.Vector)
			if err != nil || !is || len(vector) == 0 || len(warnings)+len(infos) > 0 {
				c.Errorf("panel %q: %s: %v, %v %v %v", panel.Title, query, value, warnings, infos,
					err)
			}
			for _, sample := range vector {
				if sample.Histogram == nil && math.IsNaN(float64(sample.Value)) {
					c.Errorf("panel %q: %s: %v", panel.Title, query, sample)
				}
			}
			asked++
		}
	}
	if asked < 20 {
		c.Errorf("the dashboard has %d queries", asked)
	}
}

// equal wants the summary's value of each series.
func (c *counterpart) equal(metric, query string, series []string, of func(values) float64) {
	c.Helper()
	found := c.ask(query)
	for _, one := range series {
		said, is := c.said[metric+one]
		want, got := of(said.Values), found[one]
		if !is || math.Abs(got-want) > 1e-9*math.Abs(want) {
			c.Errorf("%s: Prometheus has %v by %s, k6 says %v (%v)", metric+one, got, query, want,
				is)
		}
	}
}

// trend wants the native histogram of a metric with a unit of so many milliseconds.
func (c *counterpart) trend(metric, histogram string, unit float64) {
	c.Helper()
	for _, one := range everything {
		if c.said[metric+one].Values["count"] < 10 {
			c.Errorf("k6 has %v of %s", c.said[metric+one], metric+one)
		}
	}
	c.equal(metric, "histogram_count("+histogram+")", everything, func(v values) float64 {
		return v["count"]
	})
	c.equal(metric, fmt.Sprintf("%v * histogram_sum(%s)", unit, histogram), everything,
		func(v values) float64 { return v["count"] * v["avg"] })
	const width = 1.19 // of the widest bucket: over OTLP k6 has four for each doubling, or more
	got := c.ask(fmt.Sprintf("%v * histogram_quantile(0.95, sum(%s))", unit, histogram))[""]
	if said := c.said[metric].Values; got < said["p(94)"]/width || got > said["p(96)"]*width {
		c.Errorf("p95 of %s is %v by %s, k6 has %v", metric, got, histogram, said)
	}
}
