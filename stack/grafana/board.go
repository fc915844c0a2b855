package grafana

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Dashboards returns every dashboard by the name of its file.
func Dashboards() (map[string]dashboard.Dashboard, error) {
	all := map[string]dashboard.Dashboard{}
	for name, build := range map[string]func() (dashboard.Dashboard, error){
		"overview": overview, "kafka": kafkaBoard, "consumer": consumerBoard,
		"mongodb": mongoBoard, "validation": validationBoard, "tracing": tracingBoard,
		"logs": logsBoard, "collector": collectorBoard, "k6": K6,
	} {
		board, err := build()
		if err != nil {
			return nil, fmt.Errorf("build the dashboard %s: %w", name, err)
		}
		all[name] = board
	}
	return all, nil
}

// newBoard begins a dashboard: its UID is cdclab- and the name. The links lead to the others, with
// the same times and choices.
func newBoard(name, title, about string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder("cdclab: "+title).Uid("cdclab-"+name).
		Tags([]string{"cdclab", name}).Description(about).
		Annotation(conclusions()).
		Refresh("5s").Time("now-15m", "now").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("cdclab").
			Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"cdclab"}).
			AsDropdown(true).KeepTime(true).IncludeVars(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").
			Label("Prometheus").Type("prometheus"))
}

// withChoices adds a variable for each label, with the values of one metric that has the label.
func withChoices(board *dashboard.DashboardBuilder, labels ...string) {
	for _, label := range labels {
		board.WithVariable(variable(label, labelHome[label]))
	}
}

// build puts the panels in and finishes the dashboard.
func build(board *dashboard.DashboardBuilder,
	panels ...cog.Builder[dashboard.Panel]) (dashboard.Dashboard, error) {
	for _, one := range panels {
		board.WithPanel(one)
	}
	return board.Build()
}

// labelHome is a metric with the label of each variable.
var labelHome = map[string]string{
	"run": "cdc_consumer_build_info", "instance": "cdc_consumer_build_info",
	"entity": "cdc_consumer_events_total", "topic": "cdc_consumer_lag_records",
	"partition": "cdc_consumer_lag_records",
	"testid":    "k6_cdc_writes_total", "scenario": "k6_cdc_writes_total",
	"operation": "k6_cdc_writes_total",
	"service":   "traces_span_metrics_calls_total",
}

// choose returns the metric with the values chosen of each label. A matcher in the metric's own
// braces stays.
func choose(metric string, labels ...string) string {
	var matchers []string
	for _, label := range labels {
		of := label
		if label == "service" {
			of = "service_name"
		}
		matchers = append(matchers, fmt.Sprintf(`%s=~"$%s"`, of, label))
	}
	name, own, has := strings.Cut(strings.TrimSuffix(metric, "}"), "{")
	if has {
		matchers = append([]string{own}, matchers...)
	}
	return name + "{" + strings.Join(matchers, ",") + "}"
}

// rate returns what comes of a counter or a histogram in a second, in all or by labels.
func rate(series string, by ...string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s[$__rate_interval]))", strings.Join(by, ", "), series)
}

// quantiles are the usual three of a classic histogram; series is without _bucket.
func quantiles(series string) []target {
	name, rest, _ := strings.Cut(series, "{")
	var lines []target
	for _, q := range []struct {
		name string
		of   float64
	}{{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}} {
		lines = append(lines, target{q.name, fmt.Sprintf("histogram_quantile(%g, %s)", q.of,
			rate(name+"_bucket{"+rest, "le"))})
	}
	return lines
}

// buckets are those of a classic histogram, for a heatmap.
func buckets(series string) target {
	name, rest, _ := strings.Cut(series, "{")
	return target{"{{le}}", rate(name+"_bucket{"+rest, "le")}
}

// sourceOf is the data source of a variable.
func sourceOf(kind, variable string) common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr(kind), Uid: cog.ToPtr("${" + variable + "}")}
}
