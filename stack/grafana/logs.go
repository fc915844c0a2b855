package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/logs"
	"github.com/grafana/grafana-foundation-sdk/go/loki"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// lokiSource is the Loki chosen by the dashboard's variable.
var lokiSource = sourceOf("loki", "loki")

func logQuery(query, name string) cog.Builder[variants.Dataquery] {
	return loki.NewDataqueryBuilder().RefId("A").Expr(query).LegendFormat(name).QueryType("range").
		Datasource(lokiSource)
}

// lines is a panel of log lines. A line's field trace_id is a link to the trace, by the data
// source's derived field.
func lines(title, about, query string) *logs.PanelBuilder {
	return logs.NewPanelBuilder().Title(title).Unit(units.Short).Span(24).Height(9).
		Description(about).Datasource(lokiSource).ShowTime(true).WrapLogMessage(true).
		EnableLogDetails(true).SortOrder(common.LogsSortOrderDescending).
		WithTarget(logQuery(query, ""))
}

// counted is a graph of a LogQL query of numbers.
func counted(title, unit, about, query, name string) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().Title(title).Unit(unit).Span(12).Height(8).
		Description(about).Datasource(lokiSource).Min(0).WithTarget(logQuery(query, name))
}

// logsBoard is section 2.5.8. Labels are service_name, level, kafka_topic, entity_type and
// operation; all other fields are structured metadata, for the reason in stack/otel/loki.yaml.
func logsBoard() (dashboard.Dashboard, error) {
	board := newBoard("logs", "logs", "The lines of every service, with their fields and traces").
		WithVariable(dashboard.NewDatasourceVariableBuilder("loki").Label("Loki").Type("loki")).
		WithVariable(dashboard.NewDatasourceVariableBuilder("tempo").Label("Tempo").Type("tempo"))
	for _, label := range []string{"service_name", "level", "kafka_topic", "entity_type",
		"operation"} {
		board.WithVariable(variable(label, "").Datasource(lokiSource).
			Query(text("label_values(" + label + ")")))
	}
	for _, box := range []string{"text", "trace_id", "kafka_partition"} {
		board.WithVariable(dashboard.NewTextBoxVariableBuilder(box).DefaultValue(text("")))
	}
	const stream = `{service_name=~"$service_name",level=~"$level",kafka_topic=~"$kafka_topic",` +
		`entity_type=~"$entity_type",operation=~"$operation"}`
	const found = stream + ` |= "$text" | trace_id=~"$trace_id.*" ` +
		`| kafka_partition=~"$kafka_partition.*"`
	fields := table.NewPanelBuilder().Title("Fields of the consumer's lines").Unit(units.Short).
		Span(24).Height(8).Datasource(lokiSource).
		Description("Each field of a line in a column: sort by partition or offset to see what " +
			"belongs together, filter by a cell.").
		WithTarget(logQuery(`{service_name="cdc-consumer",level=~"$level"} | json`, "")).
		WithTransformation(dashboard.DataTransformerConfig{Id: "extractFields",
			Options: map[string]any{"source": "labels"}})
	return build(board,
		counted("Volume by service", units.Short, "A service that falls silent is away, or its "+
			"log is not collected; one that shouts repeats an error.",
			`sum by (service_name) (count_over_time(`+stream+`[$__auto]))`, "{{service_name}}"),
		counted("Volume by level", units.Short, "The volume over time. A step in ERROR: the panel "+
			"of errors below, and the annotations of the same time.",
			`sum by (level) (count_over_time(`+stream+`[$__auto]))`, "{{level}}"),
		lines("Errors", "Lines of the levels ERROR and FATAL. Expand one: its trace, topic and "+
			"partition lead to the cause.", `{service_name=~"$service_name",level=~"ERROR|FATAL"} `+
			`|= "$text"`),
		lines("Lines by service", "Everything the variables choose. A trace id in the box shows "+
			"one trace's lines of all services.", found).Height(12),
		fields,
		lines("Lines with a trace", "Click the field trace_id for the trace in Tempo, and there "+
			"a span for its lines here.", stream+` | trace_id != ""`),
		counted("Slow batches", units.Short, "Lines that tell a processing time of more than a "+
			"second: which partition?", `sum by (kafka_topic) (count_over_time({service_name=`+
			`"cdc-consumer"} | json | processing_time_ms > 1000 [$__auto]))`, "{{kafka_topic}}"),
		counted("Bytes by service", units.BytesSI, "What the logs cost. A service with most of "+
			"them: raise its level.", `sum by (service_name) (bytes_over_time(`+stream+
			`[$__auto]))`, "{{service_name}}"),
	)
}
