// Package grafana holds the lab's dashboards as code, written to provisioning/ for a Grafana to
// read. The package is no client of a Grafana, and runs none; what the lab itself concludes from a
// run is in reports. Start reading at K6.
package grafana

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/cdclab/cdclab/reports/limit"
)

// chosen are the labels that the dashboard's variables choose by. testid is there where k6 was
// given one: k6 run --tag testid=NAME.
var chosen = []string{"testid", "scenario", "entity", "operation"}

// K6 returns the dashboard of a load test: what k6 and k6/x/cdc tell a Prometheus by remote write.
// Trends are native histograms; their names end in the unit: seconds. The limits are the
// specification's (2.7.2, 2.7.7).
// https://grafana.com/docs/k6/latest/results-output/real-time/prometheus-remote-write/
func K6() (dashboard.Dashboard, error) {
	const (
		latency, commit, query = "cdc_e2e_latency_ms", "cdc_commit_ms", "db_query_duration"
		delay, pipeline        = "cdc_schedule_delay_ms", "cdc_pipeline_ms"
		success, timeout       = "k6_cdc_e2e_success_rate_rate", "k6_cdc_e2e_timeout_rate_rate"
		writes                 = "k6_cdc_writes_total"
	)
	board := newBoard("k6", "load test",
		"From the intended write to the visible document, as k6 measures it")
	withChoices(board, chosen...)
	latencies := warned(limit.P95Ms/1000, limit.P99Ms/1000)
	return build(board,
		number("Writes a second", units.RequestsPerSecond, rate(of(writes)), "What the generator "+
			"wrote. Below the script's rate: see dropped iterations."),
		number("Seen in time", units.PercentUnit, "min("+of(success)+")", "The worst entity and "+
			"operation, since the test began; the limit is 99.9 %. Below: go run . check finds "+
			"the rows.").Thresholds(least(limit.Success)),
		number("Timed out", units.PercentUnit, "max("+of(timeout)+")", "The worst entity and "+
			"operation, since the test began. Above 0: rows are late or lost; look at the lag."),
		number("e2e p50", units.Seconds, quantile(0.5, latency), "From the intended write to the "+
			"visible document. Above the limit: the stages below say where.").
			Thresholds(below(limit.P50Ms/1000)),
		number("e2e p95", units.Seconds, quantile(0.95, latency), "From the intended write to the "+
			"visible document. Above the limit: the stages below say where.").
			Thresholds(below(limit.P95Ms/1000)),
		number("e2e p99", units.Seconds, quantile(0.99, latency), "From the intended write to the "+
			"visible document. Above the limit alone: single stalls, look at the annotations.").
			Thresholds(below(limit.P99Ms/1000)),
		limited(graph("e2e latency", units.Seconds, "Intended write -> visible document. The "+
			"lines are the limits of p95 and of p99.", target{"p50", quantile(0.5, latency)},
			target{"p95", quantile(0.95, latency)}, target{"p99", quantile(0.99, latency)}),
			latencies),
		heat("Every write's e2e latency", units.Seconds, "A second band above the first is a "+
			"second way, such as a retry; gaps are stalls.", target{"", rate(trend(latency))}),
		limited(graph("e2e p95 by entity", units.Seconds, "One entity alone slow: its topic's "+
			"lag, its documents' size.", target{"{{entity}}", quantile(0.95, latency, "entity")}),
			latencies),
		limited(graph("e2e p95 by operation", units.Seconds, "Deletes and key changes cost more "+
			"reads; a slow insert is the pipeline itself.",
			target{"{{operation}}", quantile(0.95, latency, "operation")}), latencies),
		graph("Where the time goes, p95", units.Seconds, "The stages that the generator sees; "+
			"percentiles do not add up. The first high: the generator or PostgreSQL; the last: "+
			"the pipeline.", target{"intended -> sent", quantile(0.95, delay)},
			target{"sent -> committed", quantile(0.95, commit)},
			target{"committed -> visible", quantile(0.95, pipeline)}),
		limited(graph("Statements", units.Seconds, "Until PostgreSQL acknowledged; the limits are "+
			"100 ms at p95, 200 ms at p99. Above: PostgreSQL's disk or locks.",
			target{"p95", quantile(0.95, query)}, target{"p99", quantile(0.99, query)}),
			warned(limit.StatementP95Ms/1000, limit.StatementP99Ms/1000)),
		graph("Writes a second by fate", units.RequestsPerSecond, "What became of them in "+
			"PostgreSQL. Failed: the log names the error; indeterminate: a lost connection.",
			target{"{{fate}}", rate(of(writes), "fate")}),
		graph("Seen in time, by kind of write", units.PercentUnit, "Below 99.9 %: which kind of "+
			"write is late?", target{"{{scenario}} {{entity}} {{operation}}", of(success)}),
		graph("Iterations a second", units.RequestsPerSecond, "Where iterations are dropped, the "+
			"load was less than intended: such a run is void. More preAllocatedVUs.",
			target{"begun", rate(ofTest("k6_iterations_total"))},
			target{"dropped", rate(ofTest("k6_dropped_iterations_total")) + " or vector(0)"}),
		graph("Virtual users", units.Short, "All busy: the next iterations are dropped.",
			target{"there", "sum(" + ofTest("k6_vus_max") + ")"},
			target{"busy", "sum(" + ofTest("k6_vus") + ")"}),
	)
}

// of returns the metric of the chosen writes.
func of(metric string) string { return choose(metric, chosen...) }

// ofTest is a metric of the whole test.
func ofTest(metric string) string { return choose(metric, chosen[:1]...) }

// trend returns the native histogram, in seconds, of the chosen writes.
func trend(name string) string { return of("k6_" + name + "_seconds") }

// quantile returns a trend's quantile, over all or by labels, in seconds.
func quantile(q float64, name string, by ...string) string {
	return fmt.Sprintf("histogram_quantile(%g, %s)", q, rate(trend(name), by...))
}
