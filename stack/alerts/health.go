package alerts

import (
	"fmt"
	"time"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports/limit"
)

// The series of others, as their exporters, Debezium's JMX agent and the collector name the series.
const (
	connectorUp  = `debezium_metrics_Connected{context="streaming"}`
	taskStatus   = "kafka_connect_task_status"
	postgresUp   = "pg_up"
	mongodbUp    = "mongodb_up"
	postgresUse  = "pg_stat_activity_count"
	postgresMost = "pg_settings_max_connections"
	targetUp     = "up"
)

// losses are the collector's counters of lost data, without the common beginning and end.
var losses = []string{
	"receiver_refused_spans", "receiver_refused_metric_points", "receiver_refused_log_records",
	"exporter_send_failed_spans", "exporter_send_failed_metric_points",
	"exporter_send_failed_log_records", "exporter_enqueue_failed_spans",
	"exporter_enqueue_failed_metric_points", "exporter_enqueue_failed_log_records",
}

// lost counts the collector's losses in a second, by the kind of loss and the place.
func lost() string {
	var all []string
	for _, loss := range losses {
		all = append(all, labelled("rate(otelcol_"+loss+"_total[1m])", "loss", loss))
	}
	return "sum by (loss, exporter, receiver) (" + anyOf(all...) + "\n)"
}

// connectionAlerts are section 2.6.5: at once, because nothing works without the connection.
func connectionAlerts() []Alert {
	broken := func(name, component, query, action string, hot ...Series) Alert {
		var cool []Series
		for _, s := range hot {
			cool = append(cool, gauge(s.Name, s.calm, s.calm))
		}
		return Alert{Name: name, Section: "2.6.5", Severity: Critical, Component: component,
			Query: query, Dashboard: overview, Action: action,
			Summary: "the connection to " + component + " is lost, says {job} ({instance})",
			Trial: Trial{Hot: hot, Cool: cool,
				Labels: map[string]string{"job": "j", "instance": "i"}}}
	}
	const where = `{job="j",instance="i"}`
	inUse := fmt.Sprintf(`sum by (job, instance) (%s{state="in_use"}) / `+
		`max by (job, instance) (%s)`, telemetry.MetricPoolConnections,
		telemetry.MetricPoolMaxConnections)
	sessions := fmt.Sprintf("sum by (job, instance) (%s) / max by (job, instance) (%s)",
		postgresUse, postgresMost)
	full := func(query, component string) string {
		over := fmt.Sprintf("(%s > %g)", query, limit.PoolWarning)
		return labelled(over, "component", component)
	}
	pool := telemetry.MetricPoolConnections + `{state="in_use",job="j",instance="i"}`
	size := gauge(telemetry.MetricPoolMaxConnections+where, 100, 100)
	return []Alert{
		broken("PostgresLost", "postgres", anyOf(
			"min by (job, instance) ("+connectorUp+") == 0",
			"min by (job, instance) ("+postgresUp+") == 0"),
			"Is PostgreSQL up, and does it accept the connector's role? A connector without its "+
				"database comes back by itself within 15 s of the database's return. Meanwhile "+
				"nothing is lost: the log waits in the replication slot, and takes disk there.",
			gauge(`debezium_metrics_Connected{context="streaming",job="j",instance="i"}`, 0, 1)),
		broken("MongoLost", "mongodb", anyOf(
			"max by (job, instance) ("+telemetry.MetricMongoServers+") == 0",
			"max by (job, instance) ("+mongodbUp+") == 0"),
			"Is MongoDB up, with a primary? The consumer's partitions are paused and try again; "+
				"nothing becomes a dead letter. Kafka's retention is how long this may take.",
			gauge(telemetry.MetricMongoServers+where, 0, 1)),
		broken("KafkaLost", "kafka", anyOf(
			"max by (job, instance) ("+telemetry.MetricKafkaBrokers+") == 0",
			`max by (job, instance) (`+targetUp+`{job="kafka"}) == 0`),
			"Is a broker up? Connector and consumer come back by themselves. Alerts on lag and "+
				"latency are silenced until then.",
			gauge(telemetry.MetricKafkaBrokers+where, 0, 1)),
		{
			Name: "PoolNearlyExhausted", Section: "2.6.5", Severity: Warning, For: time.Minute,
			Query:   anyOf(full(inUse, "mongodb"), full(sessions, "postgres")),
			Summary: "{value%} of the connections to {component} are in use ({instance})",
			Action: "Of MongoDB: the writes are slow, or the pool is smaller than the number of " +
				"partitions (maxPoolSize in the consumer's --mongo-uri). Of PostgreSQL: look in " +
				"pg_stat_activity who holds the sessions.",
			Dashboard: mongodb,
			Trial: Trial{Hot: []Series{gauge(pool, 81, 10), size},
				Cool:   []Series{gauge(pool, 80, 10), size},
				Labels: map[string]string{"component": "mongodb", "instance": "i", "job": "j"}},
		},
	}
}

// absenceAlerts are the meaning of "no data": an alert on a number is silent without the number,
// and therefore each source of numbers has an alert on the absence of the source.
func absenceAlerts() []Alert {
	gone := func(name, component, series, action string, silencedBy ...Silence) Alert {
		return Alert{Name: name, Severity: Critical, Component: component, For: time.Minute,
			Query:      "sum(absent(" + series + "))",
			SilencedBy: silencedBy,
			Summary:    "no metrics of the " + component + " for a minute",
			Action:     action,
			Dashboard:  overview,
			Trial: Trial{Hot: []Series{missing(series, 1)},
				Cool: []Series{gauge(series, 1, 1)}}}
	}
	task := taskStatus + `{connector="c",task="0",status="failed"}`
	failed := `otelcol_exporter_send_failed_log_records_total{exporter="otlp_http/loki"}`
	return []Alert{
		gone("ConsumerMissing", "consumer", telemetry.MetricBuild, "Is a consumer up? Its log's "+
			"last line says why it ended. Alerts on lag, errors and latency are blind until then.",
			Silence{By: "CollectorMissing"}),
		gone("ConnectorMissing", "connector", connectorUp, "Is Connect up, and is the connector "+
			"registered (GET /connectors)? The replication slot keeps PostgreSQL's log meanwhile.",
			Silence{By: "CollectorMissing"}),
		gone("CollectorMissing", "collector", `up{job="otel-collector"}`, "Is the OpenTelemetry "+
			"Collector up? Without it no other alert has data."),
		{
			Name: "ConnectorTaskFailed", Severity: Critical, Component: "connector",
			Query: "max by (connector, task) (" + taskStatus + `{status="failed"}) == 1`,
			Summary: "task {task} of the connector {connector} has failed and does not start " +
				"again by itself",
			Action: "GET /connectors/{connector}/status shows the trace. Correct the cause, then " +
				"POST /connectors/{connector}/restart?includeTasks=true&onlyFailed=true.",
			Dashboard: kafka,
			Trial: Trial{Hot: []Series{gauge(task, 1, 0)}, Cool: []Series{gauge(task, 0, 0)},
				Labels: map[string]string{"connector": "c", "task": "0"}},
		}, {
			Name: "TelemetryLost", Section: "2.5.9", Severity: Warning, Component: "collector",
			Query: lost() + " > 0",
			For:   time.Minute, Dashboard: collector,
			Summary: "the collector loses {value} a second: {loss} at {receiver}{exporter}",
			Action: "An exporter: is its server up? The queue keeps what fails for a while. A " +
				"receiver: the memory limit refuses data; raise CDC_OTEL_MEMORY_MIB, or send less.",
			Trial: Trial{Hot: []Series{counter(failed, 1)}, Cool: []Series{counter(failed, 0)},
				After: step, Clears: window,
				Labels: map[string]string{"exporter": "otlp_http/loki",
					"loss": "exporter_send_failed_log_records"}},
		},
	}
}

// standstillAlerts tell of what a consumer does not read while the consumer is up.
func standstillAlerts() []Alert {
	paused := telemetry.MetricPausedPartitions + `{job="j",instance="i"}`
	unread := telemetry.MetricUnreadTopics + `{job="j",instance="i"}`
	blocked := telemetry.MetricBlockedPartitions + `{job="j",instance="i"}`
	where := map[string]string{"job": "j", "instance": "i"}
	return []Alert{
		{
			Name: "PartitionsPaused", Severity: Warning, Component: "consumer",
			Query: "max by (job, instance) (" + telemetry.MetricPausedPartitions + ") > 0",
			For:   5 * time.Minute, Dashboard: consumer,
			Summary:    "{value} partitions of {instance} have been waiting for a server",
			Action:     "The log's line \"partition paused\" names the error.",
			SilencedBy: causes,
			Trial: Trial{Hot: []Series{gauge(paused, 1, 0)}, Cool: []Series{gauge(paused, 0, 0)},
				Labels: where},
		}, {
			Name: "PartitionsBlocked", Severity: Critical, Component: "consumer",
			Query: "max by (job, instance) (" + telemetry.MetricBlockedPartitions + ") > 0",
			Summary: "{value} partitions of {instance} cannot go on: a batch is broken, or " +
				"larger than --fetch-max-bytes",
			Action:    "Raise --fetch-max-bytes and restart, or move the group's offset.",
			Dashboard: consumer,
			Trial: Trial{Hot: []Series{gauge(blocked, 1, 0)}, Cool: []Series{gauge(blocked, 0, 0)},
				Labels: where},
		}, {
			Name: "TopicsUnread", Severity: Critical, Component: "consumer",
			Query: "max by (job, instance) (" + telemetry.MetricUnreadTopics + ") > 0",
			For:   time.Minute, Dashboard: consumer,
			Summary: "{value} topics of the subscription of {instance} are not read by anybody",
			Action: "GET /readyz names the topics and why. A deleted topic: create the topic, or " +
				"restart the consumers if the table is gone for good.",
			SilencedBy: causes,
			Trial: Trial{Hot: []Series{gauge(unread, 1, 0)}, Cool: []Series{gauge(unread, 0, 0)},
				Labels: where},
		},
	}
}
