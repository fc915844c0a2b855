// Package grafana is what a Grafana shows of the lab, as code: dashboards, which are written to provisioning/ for Grafana
// to read. It is no client of a Grafana, and runs none; what the lab itself concludes from a run is in reports.
// Start reading at K6.
package grafana

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// chosen are the labels that the dashboard's variables choose by. testid is there where k6 was given one:
// k6 run --tag testid=NAME.
var chosen = []string{"testid", "scenario", "entity", "operation"}

// K6 is the dashboard of a load test: what k6 and k6/x/cdc tell a Prometheus by remote write, trends as native
// histograms, whose names end in the unit: seconds. The limits are the specification's (2.7.2, 2.7.7).
// https://grafana.com/docs/k6/latest/results-output/real-time/prometheus-remote-write/
func K6() (dashboard.Dashboard, error) {
	const (
		latency, commit, query = "cdc_e2e_latency_ms", "cdc_commit_ms", "db_query_duration"
		delay, pipeline        = "cdc_schedule_delay_ms", "cdc_pipeline_ms"
		success, timeout       = "k6_cdc_e2e_success_rate_rate", "k6_cdc_e2e_timeout_rate_rate"
		writes                 = "k6_cdc_writes_total"
	)
	board := dashboard.NewDashboardBuilder("cdclab: load test").Uid("cdclab-k6").Tags([]string{"cdclab", "k6"}).
		Description("From the intended write to the visible document, as k6 measures it").
		Refresh("5s").Time("now-15m", "now").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus"))
	for _, label := range chosen {
		board.WithVariable(variable(label))
	}
	for _, one := range []cog.Builder[dashboard.Panel]{
		number("Writes a second", units.RequestsPerSecond, rate(of(writes))),
		number("Seen in time", units.PercentUnit, "min("+of(success)+")").Thresholds(least(0.999)).
			Description("the worst entity and operation, since the test began; the limit is 99.9 %"),
		number("Timed out", units.PercentUnit, "max("+of(timeout)+")").
			Description("the worst entity and operation, since the test began"),
		number("e2e p50", units.Seconds, quantile(0.5, latency)).Thresholds(below(0.5)),
		number("e2e p95", units.Seconds, quantile(0.95, latency)).Thresholds(below(2)),
		number("e2e p99", units.Seconds, quantile(0.99, latency)).Thresholds(below(5)),
		graph("e2e latency", units.Seconds, target{"p50", quantile(0.5, latency)}, target{"p95", quantile(0.95, latency)},
			target{"p99", quantile(0.99, latency)}).Description("intended write -> visible document"),
		heat("Every write's e2e latency", target{"", rate(trend(latency))}),
		graph("e2e p95 by entity", units.Seconds, target{"{{entity}}", quantile(0.95, latency, "entity")}),
		graph("e2e p95 by operation", units.Seconds, target{"{{operation}}", quantile(0.95, latency, "operation")}),
		graph("Where the time goes, p95", units.Seconds, target{"intended -> sent", quantile(0.95, delay)},
			target{"sent -> committed", quantile(0.95, commit)}, target{"committed -> visible", quantile(0.95, pipeline)}).
			Description("the stages that the generator sees; percentiles do not add up"),
		graph("Statements", units.Seconds, target{"p95", quantile(0.95, query)}, target{"p99", quantile(0.99, query)}).
			Description("until PostgreSQL acknowledged; the limits are 100 ms at p95, 200 ms at p99"),
		graph("Writes a second by fate", units.RequestsPerSecond, target{"{{fate}}", rate(of(writes), "fate")}).
			Description("what became of them in PostgreSQL"),
		graph("Seen in time, by kind of write", units.PercentUnit, target{"{{scenario}} {{entity}} {{operation}}", of(success)}),
		graph("Iterations a second", units.RequestsPerSecond, target{"begun", rate(ofTest("k6_iterations_total"))},
			target{"dropped", rate(ofTest("k6_dropped_iterations_total")) + " or vector(0)"}).
			Description("where iterations are dropped, the load was less than intended: such a run is void"),
		graph("Virtual users", units.Short, target{"there", "sum(" + ofTest("k6_vus_max") + ")"}, target{"busy", "sum(" + ofTest("k6_vus") + ")"}),
	} {
		board.WithPanel(one)
	}
	return board.Build()
}

// of is a metric of writes, those that are chosen.
func of(metric string) string { return choose(metric, chosen) }

// ofTest is a metric of the whole test.
func ofTest(metric string) string { return choose(metric, chosen[:1]) }

func choose(metric string, labels []string) string {
	matchers := make([]string, len(labels))
	for i, label := range labels {
		matchers[i] = fmt.Sprintf(`%s=~"$%s"`, label, label)
	}
	return metric + "{" + strings.Join(matchers, ",") + "}"
}

// trend is a native histogram, in seconds, of the writes that are chosen.
func trend(name string) string { return of("k6_" + name + "_seconds") }

// rate is what comes of a counter or a histogram in a second, in all or by labels.
func rate(series string, by ...string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s[$__rate_interval]))", strings.Join(by, ", "), series)
}

// quantile is that of a trend, over all or by labels, in seconds.
func quantile(q float64, name string, by ...string) string {
	return fmt.Sprintf("histogram_quantile(%g, %s)", q, rate(trend(name), by...))
}
