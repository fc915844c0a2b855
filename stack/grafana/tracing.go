package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/nodegraph"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/tempo"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/cdclab/cdclab/reports/limit"
)

// tempoSource is the Tempo chosen by the dashboard's variable.
var tempoSource = sourceOf("tempo", "tempo")

// traces is a table of what TraceQL finds; a click on an id opens the trace.
func traces(title, about, query string, kind tempo.SearchTableType) *table.PanelBuilder {
	return table.NewPanelBuilder().Title(title).Unit(units.Short).Span(24).Height(8).
		Description(about).Datasource(tempoSource).
		WithTarget(tempo.NewTempoQueryBuilder().RefId("A").QueryType("traceql").Query(query).
			TableType(kind).Limit(50).Datasource(tempoSource))
}

// tracingBoard is section 2.5.7. Numbers come from the collector's span metrics and service graph,
// made of every span; the traces themselves are sampled: errors, slow ones, one of a hundred.
func tracingBoard() (dashboard.Dashboard, error) {
	const spans, calls = "traces_span_metrics_duration_seconds", "traces_span_metrics_calls_total"
	board := newBoard("tracing", "traces", "From the write to the document, span by span").
		WithVariable(dashboard.NewDatasourceVariableBuilder("tempo").Label("Tempo").Type("tempo")).
		WithVariable(dashboard.NewDatasourceVariableBuilder("loki").Label("Loki").Type("loki"))
	withChoices(board, "run", "service")
	for _, box := range [][2]string{{"name", ".*"}, {"longer", "0ms"}} {
		board.WithVariable(dashboard.NewTextBoxVariableBuilder(box[0]).DefaultValue(text(box[1])))
	}
	of := func(metric string) string { return ofRun(metric, "service") }
	const chosen = `resource.service.name =~ "$service" && name =~ "$name"`
	graphOfServices := nodegraph.NewPanelBuilder().Title("Service graph").Unit(units.Short).
		Span(12).Height(10).Datasource(tempoSource).
		Description("Who calls whom, how often and how slowly. A red edge has errors: open its " +
			"traces. Empty: the collector is without the connector of stack/otel/" +
			"service-graph.yaml.").
		WithTarget(variants.NewUnknownDataqueryBuilderFromObject(variants.UnknownDataquery{
			"refId": "A", "queryType": "serviceMap",
			"datasource": map[string]any{"type": "tempo", "uid": "${tempo}"}}))
	return build(board,
		number("Spans a second", units.RequestsPerSecond, rate(of(calls)), "Of the chosen "+
			"services, before the sampling. 0: --otlp-endpoint of the consumer, or --trace-ratio."),
		number("Failed spans", units.PercentUnit, "(sum(rate("+
			of(calls+`{status_code="STATUS_CODE_ERROR"}`)+"[$__rate_interval])) or vector(0)) / "+
			"clamp_min("+rate(of(calls))+", 1e-9)", "The table of errors shows them, each with a "+
			"link to its log lines.").Thresholds(warned(limit.ErrorsWarning, limit.ErrorsCritical)),
		number("Slowest span p99", units.Seconds, quantiles(of(spans))[2].query, "Of all spans; "+
			"the panel by operation says of which.").Thresholds(below(limit.P99Ms/1000)),
		traces("Search", "Traces by service, by name and by duration: the variables above. A "+
			"click on an id opens the trace, and from a span the log lines of the same trace.",
			"{"+chosen+" && duration > $longer}", tempo.SearchTableTypeTraces),
		graphOfServices,
		graph("Calls between services", units.RequestsPerSecond, "The edges of the service graph "+
			"over time. An edge that ends: the propagation of the trace context is broken there.",
			target{"{{client}} -> {{server}}", "sum by (client, server) (rate(" +
				ofRun("traces_service_graph_request_total") + "[$__rate_interval]))"}).Height(10),
		heat("Span duration", units.Seconds, "All spans of the chosen services. Two bands are two "+
			"kinds of work; a new band above is a new wait. Dots are exemplars: click one for "+
			"its trace.", buckets(of(spans))),
		graph("Duration by operation, p95", units.Seconds, "Which step is slow: process is the "+
			"whole way of a record, apply its batch, update MongoDB's command.",
			target{"{{span_name}}", "histogram_quantile(0.95, " +
				rate(of(spans+"_bucket"), "le", "span_name") + ")"}),
		traces("Errors", "Traces with a failed span; all of them are kept. The attribute "+
			"error.type names the kind, the log lines of the trace the rest.",
			"{"+chosen+" && status = error}", tempo.SearchTableTypeTraces),
		traces("The way of a CDC event", "Records on their way from Kafka to MongoDB: topic, "+
			"group, entity and operation of each. A record that ends before a MongoDB span was "+
			"stale, folded into another, or became a letter.",
			`{span.messaging.system = "kafka"} | select(span.messaging.destination.name, `+
				`span.messaging.kafka.consumer.group, span.cdc.entity.type, span.db.operation, `+
				`span.cdc.outcome)`, tempo.SearchTableTypeSpans),
		graph("CDC events by entity and operation", units.RequestsPerSecond, "The traced records "+
			"by what they ask MongoDB for.", target{"{{cdc_entity_type}} {{db_operation}}",
			"sum by (cdc_entity_type, db_operation) (rate(" +
				of(calls+`{messaging_system="kafka"}`) + "[$__rate_interval]))"}),
		lines("Lines of traced events", "The lines with a trace id; expand one for the link to "+
			"its trace.", `{service_name=~"$service"} | trace_id != ""`).Span(12),
	)
}
