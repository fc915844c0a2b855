package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports/limit"
)

// failedShare is the share of events with a broken rule that rejects, over a while.
func failedShare(while string) string {
	sum := func(metric string) string {
		return "(sum(rate(" + ofConsumer(metric) + "[" + while + "])) or vector(0))"
	}
	failed := sum(telemetry.MetricValidationFailed + `{severity="reject"}`)
	return failed + " / clamp_min(" + sum(telemetry.MetricValidationPassed) + " + " + failed +
		", 1e-9)"
}

// validationBoard is section 2.5.6, with what changed in the tables: a new rule's failures mostly
// begin with a change.
func validationBoard() (dashboard.Dashboard, error) {
	board := newBoard("validation", "validation", "Rules, broken rules and changes of tables")
	withChoices(board, "run", "instance", "entity")
	limits := warned(limit.ValidationWarning, limit.ValidationCritical)
	failed := ofConsumer(telemetry.MetricValidationFailed, "entity")
	return build(board,
		number("Failures", units.PercentUnit, failedShare("$__rate_interval"), "The share of "+
			"events that a rule rejects; alerts from 1 % and from 5 %. The panel of rules says "+
			"which.").Thresholds(limits),
		number("Passed a second", units.RequestsPerSecond,
			rate(ofConsumer(telemetry.MetricValidationPassed)), "Events without a broken rule "+
				"that rejects. 0 with load: all are rejected, or nothing arrives."),
		number("Broken rules", units.Short, "sum(increase("+failed+"[$__range])) or vector(0)",
			"In the time shown, warnings included. An event may break several."),
		number("Validation p99", units.Seconds,
			quantiles(ofConsumer(telemetry.MetricValidationLatency))[2].query, "Of one event. "+
				"Above a millisecond: a spec with very many rules.").Thresholds(below(0.001)),
		number("Schema changes", units.Short, "sum(increase("+
			ofConsumer(telemetry.MetricSchemaChanges, "entity")+"[$__range])) or vector(0)",
			"Columns added, removed, changed in the time shown; ADDING-A-TABLE.md says what "+
				"becomes of each.").Thresholds(below(1)),
		number("Time drift", units.Seconds, "max("+
			ofConsumer(telemetry.MetricTimeDriftSeconds, "entity")+")", "From the commit to "+
			"Kafka, of the last event. Large: delay of the connector; below 0: a wrong clock."),
		graph("Passed and failed", units.RequestsPerSecond, "Failures that rise with the load are "+
			"a rule that does not fit the data; a step is a change in the source.",
			target{"passed", rate(ofConsumer(telemetry.MetricValidationPassed))},
			target{"failed", "sum(rate(" + failed + "[$__rate_interval])) or vector(0)"}),
		limited(graph("Failure rate", units.PercentUnit, "The line of the alerts. Above it: dlq "+
			"list, correct the source or the spec, dlq replay.",
			target{"rejected", failedShare("$__rate_interval")}), limits),
		graph("Failures by rule", units.RequestsPerSecond, "reference and parent: the referred "+
			"row is missing, an alert by itself. enum, range, format: the source's values.",
			target{"{{rule}} {{severity}}", rate(failed, "rule", "severity") + " or vector(0)"}),
		graph("Failures by entity", units.RequestsPerSecond, "One entity alone: its spec, or its "+
			"writer.", target{"{{entity}}", rate(failed, "entity") + " or vector(0)"}),
		heat("Validation latency", units.Seconds, "Of one event, in the consumer. A rising band: "+
			"more rules, or a busy processor.",
			buckets(ofConsumer(telemetry.MetricValidationLatency))),
		limited(graph("Trend", units.PercentUnit, "The failure rate of the last 5 minutes beside "+
			"that of the last hour: above the hour's it gets worse, below it heals.",
			target{"last 5 minutes", failedShare("5m")}, target{"last hour", failedShare("1h")}),
			limits),
		graph("Schema changes by kind", units.Short, "incompatible: older values do not fit the "+
			"new type; removed: required columns make letters.", target{
			"{{entity}} {{column}} {{kind}}", "sum by (entity, column, kind) (increase(" +
				ofConsumer(telemetry.MetricSchemaChanges, "entity") + "[$__range])) or vector(0)"}),
		graph("Out of order, and shapes", units.Short, "Events before an earlier one of their "+
			"partition are replays, or a source out of order. Shapes of rows grow with each "+
			"change of a table.", target{"out of order {{entity}}", "sum by (entity) (increase(" +
			ofConsumer(telemetry.MetricOutOfOrder, "entity") + "[$__range])) or vector(0)"},
			target{"shapes {{entity}}", "max by (entity) (" +
				ofConsumer(telemetry.MetricSchemaVersions, "entity") + ")"}),
	)
}
