package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/cdclab/cdclab/reports/annotate"
)

// source is the Prometheus chosen by the dashboard's variable.
var source = sourceOf("prometheus", "datasource")

// variable chooses values of a label of a metric. "All" also chooses series without the label.
func variable(label, metric string) *dashboard.QueryVariableBuilder {
	all := dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}
	of := label
	if label == "service" {
		of = "service_name"
	}
	query := "label_values(" + metric + ", " + of + ")"
	everything := dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}
	return dashboard.NewQueryVariableBuilder(label).Datasource(source).
		Query(text(query)).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".*").
		Current(dashboard.VariableOption{Text: everything, Value: all})
}

// conclusions shows, over every panel, what the lab wrote about its runs: loads, faults, verdicts.
// The SDK has no type for a query by tags; the members are those of Grafana's own dashboards.
// https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/annotate-visualizations/
func conclusions() *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name("Runs, faults and verdicts").
		Datasource(common.DataSourceRef{Type: cog.ToPtr("grafana"),
			Uid: cog.ToPtr("-- Grafana --")}).
		Enable(true).IconColor("purple").
		Target(variants.NewUnknownDataqueryBuilderFromObject(variants.UnknownDataquery{
			"type": "tags", "tags": []string{annotate.Tag}, "matchAny": false, "limit": 1000,
		}))
}

// target is one query of a panel and the name of the query's lines.
type target struct{ name, query string }

// builder returns the query as number i of the panel; Grafana calls the queries A, B and so on. An
// exemplar, where a series has any, leads to its trace.
func (t target) builder(i int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(string(rune('A' + i))).
		Expr(t.query).LegendFormat(t.name).Range().Exemplar(true)
}

// number returns a panel of the last number of a query, above the number's course.
func number(title, unit, query, about string) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Unit(unit).Span(4).Height(4).Description(about).
		Datasource(source).Min(0).
		ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeArea).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		WithTarget(target{title, query}.builder(0))
}

// graph is a panel of lines over time. A click on a line leads to the traces of the same time.
func graph(title, unit, about string, lines ...target) *timeseries.PanelBuilder {
	panel := timeseries.NewPanelBuilder().Title(title).Unit(unit).Span(12).Height(8).
		Description(about).Datasource(source).Min(0).
		DataLinks([]cog.Builder[dashboard.DashboardLink]{toTraces()})
	for i, line := range lines {
		panel.WithTarget(line.builder(i))
	}
	return panel
}

// toTraces leads from a number to the traces of the same time, whose dashboard leads to the logs.
func toTraces() *dashboard.DashboardLinkBuilder {
	return dashboard.NewDashboardLinkBuilder("traces of this time").
		Type(dashboard.DashboardLinkTypeLink).
		Url("/d/cdclab-tracing?${__url_time_range}&${run:queryparam}")
}

// heat returns a panel of how often each value of a native histogram came.
func heat(title, unit, about string, histogram target) *heatmap.PanelBuilder {
	return heatmap.NewPanelBuilder().Title(title).Span(12).Height(8).Description(about).
		Datasource(source).Unit(unit).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(unit)).
		WithTarget(histogram.builder(0).Format(prometheus.PromQueryFormatHeatmap))
}

// limited draws the line of a limit.
func limited(panel *timeseries.PanelBuilder,
	limits *dashboard.ThresholdsConfigBuilder) *timeseries.PanelBuilder {
	return panel.Thresholds(limits).ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().
		Mode(common.GraphThresholdsStyleModeDashed))
}

// below makes values red from a limit on; least makes values red below the limit.
func below(limit float64) *dashboard.ThresholdsConfigBuilder {
	return steps(dashboard.Threshold{Color: "green"},
		dashboard.Threshold{Color: "red", Value: &limit})
}

func least(limit float64) *dashboard.ThresholdsConfigBuilder {
	return steps(dashboard.Threshold{Color: "red"},
		dashboard.Threshold{Color: "green", Value: &limit})
}

// warned makes values yellow from the limit of a warning on, and red from the critical one on.
func warned(warning, critical float64) *dashboard.ThresholdsConfigBuilder {
	return steps(dashboard.Threshold{Color: "green"},
		dashboard.Threshold{Color: "yellow", Value: &warning},
		dashboard.Threshold{Color: "red", Value: &critical})
}

func steps(all ...dashboard.Threshold) *dashboard.ThresholdsConfigBuilder {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(all)
}

// text is a text where Grafana also takes an object.
func text(value string) dashboard.StringOrMap { return dashboard.StringOrMap{String: &value} }
