package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports/limit"
)

// mongoBoard is section 2.5.5: as the consumer's driver sees MongoDB, and as the exporter does
// (Percona's mongodb_exporter, with the collectors diagnosticdata, collstats and indexstats).
func mongoBoard() (dashboard.Dashboard, error) {
	board := newBoard("mongodb", "MongoDB", "Writes, their latency, the pool, collections, indexes")
	withChoices(board, "run", "instance", "entity")
	commands := telemetry.MetricMongoSeconds
	pool := "sum(" + ofConsumer(telemetry.MetricPoolConnections+`{state="in_use"}`) +
		") / sum(" + ofConsumer(telemetry.MetricPoolMaxConnections) + ")"
	return build(board,
		number("Servers", units.Short, "min("+ofConsumer(telemetry.MetricMongoServers)+")",
			"Servers that answer the consumer. 0: every partition pauses until one is back.").
			Thresholds(least(1)),
		number("Commands a second", units.RequestsPerSecond, rate(ofConsumer(commands+"_count")),
			"All commands of the consumers: writes, and reads where events leave something open."),
		number("Write p95", units.Seconds,
			quantiles(ofConsumer(commands + `{command="update"}`))[1].
				query, "Of the update command, which carries a batch. Above the limit: look at "+
				"MongoDB's disk and at its slow queries.").
			Thresholds(warned(limit.StatementP95Ms/1000, limit.P50Ms/1000)),
		number("Failed commands", units.RequestsPerSecond, "sum(rate("+
			ofConsumer(telemetry.MetricMongoFailures)+"[$__rate_interval])) or vector(0)",
			"Commands that failed as a whole; each is tried again. The log names the code.").
			Thresholds(below(0.1)),
		number("Pool in use", units.PercentUnit, pool, "Alert from 80 %. Slow writes, or "+
			"maxPoolSize below the number of partitions.").
			Thresholds(below(limit.PoolWarning)),
		number("Wait for a connection", units.Seconds,
			quantiles(ofConsumer(telemetry.MetricPoolWaitSeconds))[1].query, "At p95. More than "+
				"some milliseconds: the pool is too small.").Thresholds(below(0.1)),
		graph("Write operations a second", units.RequestsPerSecond, "Events written, by entity, "+
			"and the commands that carried them: the ratio is the size of a batch.",
			target{"{{entity}}", rate(ofConsumer(telemetry.MetricEvents+`{outcome="applied"}`,
				"entity"), "entity")},
			target{"update commands", rate(ofConsumer(commands + `_count{command="update"}`))}),
		heat("Write latency", units.Seconds, "Of the update command. Two bands: a server that "+
			"flushes now and then; a rising one: too much load.",
			buckets(ofConsumer(commands+`{command="update"}`))),
		graph("Latency by command, p95", units.Seconds, "A slow find is a missing index, a slow "+
			"update the disk or the journal.", target{"{{command}}", "histogram_quantile(0.95, " +
			rate(ofConsumer(commands+"_bucket"), "le", "command") + ")"}),
		graph("Connection pool", units.Short, "In use near the maximum: see Pool in use.",
			target{"{{state}} {{instance}}", ofConsumer(telemetry.MetricPoolConnections)},
			target{"maximum {{instance}}", ofConsumer(telemetry.MetricPoolMaxConnections)}),
		graph("Events of the pool", units.RequestsPerSecond, "Cleared: the driver lost a server. "+
			"checkout_failed: nobody gave a connection back in time.", target{"{{event}}",
			rate(ofConsumer(telemetry.MetricPoolEvents), "event")}),
		graph("Documents by collection", units.Short, "Tombstones included. Far from the table's "+
			"rows, after the lag is gone: go run . check compares them.",
			target{"{{collection}}", "max by (collection) (" +
				ofRun("mongodb_collstats_storageStats_count") + ")"}),
		graph("Use of indexes", units.RequestsPerSecond, "How often each index is used. One at "+
			"0 for days costs every write and helps nobody.",
			target{"{{collection}} {{key_name}}", "sum by (collection, key_name) (rate(" +
				ofRun("mongodb_indexstats_accesses_ops") + "[$__rate_interval]))"}),
		graph("Operations of the server", units.RequestsPerSecond, "Of all clients, not of the "+
			"consumer alone: who else writes?", target{"{{legacy_op_type}}",
			"sum by (legacy_op_type) (rate(" + ofRun("mongodb_ss_opcounters") +
				"[$__rate_interval]))"}),
		graph("Connections of the server", units.Short, "Of all clients. Near the maximum "+
			"(current + available): a client that leaks.", target{"{{conn_type}}",
			"sum by (conn_type) (" + ofRun("mongodb_ss_connections") + ")"}),
	)
}
