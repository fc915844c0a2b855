package grafana

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports/limit"
)

// ofConsumer returns a metric of the chosen consumers and runs.
func ofConsumer(metric string, more ...string) string {
	return choose(metric, append([]string{"run", "instance"}, more...)...)
}

// ofRun returns a metric of another part, of the chosen runs.
func ofRun(metric string, more ...string) string {
	return choose(metric, append([]string{"run"}, more...)...)
}

// inAll is the time of an event from the commit to the acknowledged write.
var inAll = fmt.Sprintf(`%s{stage=%q}`, telemetry.MetricStageSeconds,
	telemetry.StageSourceToApplied)

// ended are the events with an end: a wait is no end.
var ended = telemetry.MetricEvents + `{outcome!="parked"}`

// errorShare is the share of the events that ended as dead letters.
func errorShare() string {
	letters := "(" + rate(ofConsumer(telemetry.MetricDeadLetters)) + " or vector(0))"
	return letters + " / clamp_min(" + rate(ofConsumer(
		telemetry.MetricEvents+`{outcome!~"parked|dead_letter"}`)) + " + " + letters + ", 1e-9)"
}

// health is 0 where a part is away, 1 where the pipeline is slow or waits, else 2.
func health() string {
	there := func(metric string) string {
		return "clamp_max(min(" + metric + ") or vector(0), 1)"
	}
	free := func(query string) string { return "((" + query + " or vector(0)) == bool 0)" }
	slow := fmt.Sprintf("histogram_quantile(0.95, %s) > bool %g",
		rate(ofConsumer(telemetry.MetricStageSeconds+
			`_bucket{stage="`+telemetry.StageSourceToApplied+`"}`), "le"),
		limit.LatencyP95WarningMs/1000)
	return there(ofRun(`debezium_metrics_Connected{context="streaming"}`)) + " * " +
		there(ofConsumer(telemetry.MetricMongoServers)) + " * " +
		there(ofConsumer(telemetry.MetricKafkaBrokers)) + " * (1 + " +
		fmt.Sprintf("((sum(%s) or vector(0)) <= bool %g)", ofConsumer(telemetry.MetricLag),
			limit.LagWarning) + " * " +
		free("max("+ofConsumer(telemetry.MetricPausedPartitions)+")") + " * " +
		free("max("+ofConsumer(telemetry.MetricBlockedPartitions)+")") + " * " +
		free(slow) + ")"
}

// overview is section 2.5.2: the health of the pipeline at a glance.
func overview() (dashboard.Dashboard, error) {
	board := newBoard("overview", "overview",
		"The health of the pipeline: from PostgreSQL's commit to MongoDB's document")
	withChoices(board, "run", "instance", "entity", "topic")
	state := number("Pipeline", units.Short, health(), "Healthy: every part is there, the lag "+
		"is below 1000 and p95 below 500 ms. Degraded: slow, or partitions wait. Down: the "+
		"connector, Kafka, MongoDB or the consumer is away; the alerts say which, RUNBOOK.md "+
		"what to do.").Mappings(states()).NoValue("down").
		Thresholds(steps(dashboard.Threshold{Color: "red"},
			dashboard.Threshold{Color: "yellow", Value: cog.ToPtr(1.0)},
			dashboard.Threshold{Color: "green", Value: cog.ToPtr(2.0)}))
	lag := "sum(max by (topic, partition) (" + ofConsumer(telemetry.MetricLag, "topic") + "))"
	return build(board, state,
		number("Events in all", units.Short, "sum(increase("+ofConsumer(ended, "entity")+
			"[$__range]))", "Events with an end in the time shown. None, while the source is "+
			"written to: look at the connector first."),
		number("Events a second", units.RequestsPerSecond, rate(ofConsumer(ended, "entity")),
			"What the consumer gets done. Far below the source's rate: the lag grows."),
		number("Errors", units.PercentUnit, errorShare(), "The share of events that end as dead "+
			"letters; alerts from 1 % and from 5 %. go run . dlq list shows them.").
			Thresholds(warned(limit.ErrorsWarning, limit.ErrorsCritical)),
		number("Lag", units.Short, lag, "Records not yet committed. Growing: more consumers, up "+
			"to the number of partitions, or less load.").
			Thresholds(warned(limit.LagWarning, limit.LagCritical)),
		number("p95", units.Seconds, quantiles(ofConsumer(inAll))[1].query, "From the commit to "+
			"MongoDB. Above the limit: the panel of stages says where the time goes.").
			Thresholds(warned(limit.LatencyP95WarningMs/1000, limit.LatencyP95CriticalMs/1000)),
		graph("Events by entity", units.RequestsPerSecond, "One entity alone at 0: its topic or "+
			"its spec. All at 0: the connector, Kafka or the consumer.",
			target{"{{entity}}", rate(ofConsumer(ended, "entity"), "entity")}),
		limited(graph("Latency from commit to document", units.Seconds, "The limits are those of "+
			"the alerts on p95. All three up: the pipeline is slow; p99 alone: single batches "+
			"wait, look at retries.", quantiles(ofConsumer(inAll))...),
			warned(limit.LatencyP95WarningMs/1000, limit.LatencyP95CriticalMs/1000)),
		graph("Mean time by stage", units.Seconds, "Which part is slow: up to Kafka the "+
			"connector, up to the consumer its lag, then MongoDB. A stage below 0 is counted as "+
			"0: compare the machines' clocks.",
			target{"{{stage}}", rate(ofConsumer(telemetry.MetricStageSeconds+"_sum"), "stage") +
				" / " + rate(ofConsumer(telemetry.MetricStageSeconds+"_count"), "stage")}),
		limited(graph("Lag by topic", units.Short, "The topic with the lag is where to look: a "+
			"hot key, or rows that wait for another table.", target{"{{topic}}",
			"sum by (topic) (" + ofConsumer(telemetry.MetricLag, "topic") + ")"}),
			warned(limit.LagWarning, limit.LagCritical)),
		graph("Events by outcome", units.RequestsPerSecond, "Applied and folded are the good "+
			"ends; stale is a replay; dead_letter needs an answer; parked waits for another row.",
			target{"{{outcome}}", rate(ofConsumer(telemetry.MetricEvents, "entity"), "outcome")}),
		graph("Active connections", units.Short, "Of the consumer to MongoDB and Kafka, and the "+
			"sessions of PostgreSQL. A line that falls to 0 is a server that is away.",
			target{"MongoDB {{state}}", "sum by (state) (" +
				ofConsumer(telemetry.MetricPoolConnections) + ")"},
			target{"Kafka brokers", "max(" + ofConsumer(telemetry.MetricKafkaBrokers) + ")"},
			target{"PostgreSQL sessions", "sum(" + ofRun("pg_stat_activity_count") + ")"}),
	)
}

// states are the words for the values of health.
func states() []dashboard.ValueMapping {
	words := map[string]dashboard.ValueMappingResult{}
	for value, word := range map[string]struct{ text, color string }{
		"0": {"down", "red"}, "1": {"degraded", "yellow"}, "2": {"healthy", "green"},
	} {
		words[value] = dashboard.ValueMappingResult{Text: &word.text, Color: &word.color}
	}
	mapping := dashboard.NewValueMap()
	mapping.Options = words
	return []dashboard.ValueMapping{{ValueMap: mapping}}
}
