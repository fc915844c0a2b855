package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// source is the Prometheus that the dashboard's variable chooses.
var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

// variable chooses values of a label. All of them is also no such label.
func variable(label string) *dashboard.QueryVariableBuilder {
	all := dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}
	query := "label_values(k6_cdc_writes_total, " + label + ")"
	return dashboard.NewQueryVariableBuilder(label).Datasource(source).Query(dashboard.StringOrMap{String: &query}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).Multi(true).IncludeAll(true).AllValue(".*").
		Current(dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}, Value: all})
}

// target is one query of a panel and the name of its lines.
type target struct{ name, query string }

// builder is the query as number i of its panel, which Grafana calls A, B and so on.
func (t target) builder(i int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(string(rune('A' + i))).Expr(t.query).LegendFormat(t.name).Range()
}

// number is a panel of one number, the last one, above its course.
func number(title, unit, query string) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Unit(unit).Span(4).Height(4).Datasource(source).Min(0).
		ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeArea).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		WithTarget(target{title, query}.builder(0))
}

// graph is a panel of lines over time.
func graph(title, unit string, lines ...target) *timeseries.PanelBuilder {
	panel := timeseries.NewPanelBuilder().Title(title).Unit(unit).Span(12).Height(8).Datasource(source).Min(0)
	for i, line := range lines {
		panel.WithTarget(line.builder(i))
	}
	return panel
}

// heat is a panel of how often there was which value, in seconds, of a native histogram.
func heat(title string, histogram target) *heatmap.PanelBuilder {
	return heatmap.NewPanelBuilder().Title(title).Span(12).Height(8).Datasource(source).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(units.Seconds)).
		WithTarget(histogram.builder(0).Format(prometheus.PromQueryFormatHeatmap))
}

// below makes red what is at a limit or above it, least what is not.
func below(limit float64) *dashboard.ThresholdsConfigBuilder { return limited("green", limit, "red") }

func least(limit float64) *dashboard.ThresholdsConfigBuilder { return limited("red", limit, "green") }

func limited(before string, limit float64, from string) *dashboard.ThresholdsConfigBuilder {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).
		Steps([]dashboard.Threshold{{Color: before}, {Color: from, Value: &limit}})
}
