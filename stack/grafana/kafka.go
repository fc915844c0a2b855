package grafana

import (
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports/limit"
)

// kafkaBoard is section 2.5.3, with Connect, which writes the topics: the names are those of
// stack/kafka/jmx-broker.yml and jmx-worker.yml.
func kafkaBoard() (dashboard.Dashboard, error) {
	board := newBoard("kafka", "Kafka and Connect",
		"Topics, partitions, brokers and the connector that fills the topics")
	withChoices(board, "run", "topic", "partition")
	ofTopic := func(metric string) string { return ofRun(metric, "topic") }
	ofPartition := func(metric string) string { return ofRun(metric, "topic", "partition") }
	return build(board, slices.Concat([]cog.Builder[dashboard.Panel]{
		number("Brokers running", units.Short, "count("+ofRun("kafka_server_brokerstate")+
			" == 3) or vector(0)", "Brokers in the state 3, running. Fewer than there should be: "+
			"look at the log of the one that is missing.").Thresholds(least(1)),
		number("Controllers", units.Short, "sum("+ofRun("kafka_controller_active_count")+")",
			"Exactly one is right. None: no topic can be made and no leader elected.").
			Thresholds(least(1)),
		number("Under-replicated", units.Short, "sum("+
			ofRun("kafka_server_replicamanager_underreplicatedpartitions")+")",
			"Partitions with a replica behind. More than 0: a broker is away or slow; do not "+
				"restart another one now.").Thresholds(below(1)),
		number("Offline replicas", units.Short, "sum("+
			ofRun("kafka_server_replicamanager_offlinereplicacount")+")",
			"Replicas on a disk that failed: look at the broker's log.").Thresholds(below(1)),
		number("Request handlers idle", units.PercentUnit, "min("+
			ofRun("kafka_server_request_handler_idle_ratio")+")",
			"Below 0.3 the broker is busy: more brokers, or fewer and larger requests.").
			Thresholds(least(0.3)),
		number("Connector behind", units.Milliseconds, "max("+
			ofRun(`debezium_metrics_MilliSecondsBehindSource{context="streaming"}`)+")",
			"How long after its commit the last event was read. Growing: the connector is too "+
				"slow; stack/README.md has the settings that matter.").
			Thresholds(warned(limit.LatencyP95WarningMs, limit.LatencyP95CriticalMs)),
		graph("Messages a second by topic", units.RequestsPerSecond, "What is written to each "+
			"topic. 0 while the table is written to: the connector, or the topic's name.",
			target{"{{topic}}", rate(ofTopic("kafka_server_topic_messagesin_total"), "topic")}),
		graph("Bytes a second", units.BytesPerSecondSI, "In from the connector, out to the "+
			"consumers. Out a multiple of in: several groups, or a consumer that reads again.",
			target{"in", rate(ofTopic("kafka_server_topic_bytesin_total"))},
			target{"out", rate(ofTopic("kafka_server_topic_bytesout_total"))}),
		graph("Partition distribution: size", units.BytesSI, "Even sizes are right. One partition "+
			"far larger: a key that gets most of the writes, or too few keys.",
			target{"{{topic}}/{{partition}}", "max by (topic, partition) (" +
				ofPartition("kafka_log_size_bytes") + ")"}),
		graph("Partition distribution: events a second", units.RequestsPerSecond, "The pace of "+
			"the committed offset in each partition. One at 0 with a lag is paused or blocked.",
			target{"{{topic}}/{{partition}}", "sum by (topic, partition) (rate(" +
				ofPartition(telemetry.MetricCommittedOffset) + "[$__rate_interval]))"}),
		limited(graph("Lag of the group by partition", units.Short, "All grow: the consumer is "+
			"slow or away. One grows: a hot key, or its records wait for another table's rows.",
			target{"{{topic}}/{{partition}}", "max by (topic, partition) (" +
				ofPartition(telemetry.MetricLag) + ")"}),
			warned(limit.LagWarning, limit.LagCritical)),
		graph("Replication", units.Short, "Leaders should be even among brokers; below the least "+
			"in-sync replicas (ISR) a producer with acks=all is refused.",
			target{"partitions {{instance}}", "sum by (instance) (" +
				ofRun("kafka_server_replicamanager_partitioncount") + ")"},
			target{"leaders {{instance}}", "sum by (instance) (" +
				ofRun("kafka_server_replicamanager_leadercount") + ")"},
			target{"below the least ISR", "sum(" +
				ofRun("kafka_server_replicamanager_underminisrpartitioncount") + ")"}),
		graph("Requests", units.Milliseconds, "The broker's own time for a request, at the 99th "+
			"percentile. A slow Produce is a slow disk or replica; FetchConsumer waits for data.",
			target{"{{request}} p99", "max by (request) (" +
				ofRun(`kafka_network_request_total_time_ms{statistic="99thPercentile"}`) + ")"}),
		graph("Failed requests a second", units.RequestsPerSecond, "Should be 0: the client's log "+
			"names the error, such as a record too large.",
			target{"produce", "sum(rate(" + ofRun("kafka_server_failedproducerequests_total") +
				"[$__rate_interval]))"},
			target{"fetch", "sum(rate(" + ofRun("kafka_server_failedfetchrequests_total") +
				"[$__rate_interval]))"}),
	}, connectPanels())...)
}

// connectPanels are of Connect and Debezium, of the two JVMs, and of the log that PostgreSQL keeps.
func connectPanels() []cog.Builder[dashboard.Panel] {
	return []cog.Builder[dashboard.Panel]{
		graph("Connect: tasks", units.Short, "Every task should be running; a failed one starts "+
			"again only by POST /connectors/NAME/restart?includeTasks=true.",
			target{"{{connector}}/{{task}} {{status}}", "max by (connector, task, status) (" +
				ofRun("kafka_connect_task_status") + ")"}),
		graph("Connect: records", units.RequestsPerSecond, "Read from PostgreSQL and written to "+
			"Kafka. Written below read: a transformation filters, or the producer is slow.",
			target{"read {{connector}}", "sum by (connector) (" +
				ofRun("kafka_connect_task_source_record_poll_rate") + ")"},
			target{"written {{connector}}", "sum by (connector) (" +
				ofRun("kafka_connect_task_source_record_write_rate") + ")"}),
		graph("Debezium: events", units.RequestsPerSecond, "What the connector has seen in "+
			"PostgreSQL's log. 0 while rows are written: the publication, or the filter.",
			target{"{{context}}", "sum by (context) (rate(" +
				ofRun("debezium_metrics_TotalNumberOfEventsSeen") + "[$__rate_interval]))"}),
		graph("JVM: heap", units.BytesSI, "Of the broker and of Connect. Always near the "+
			"maximum: a larger heap, or smaller batches and queues.",
			target{"{{job}} used", "sum by (job) (" + ofRun(`jvm_memory_used_bytes{area="heap"}`) +
				")"},
			target{"{{job}} maximum", "sum by (job) (" +
				ofRun(`jvm_memory_max_bytes{area="heap"}`) + ")"}),
		graph("JVM: share of time in garbage collection", units.PercentUnit, "Above 0.1 the "+
			"program mostly cleans up: a larger heap.", target{"{{job}}", "sum by (job) (rate(" +
			ofRun("jvm_gc_collection_seconds_sum") + "[$__rate_interval]))"}),
		graph("PostgreSQL: log kept for the connector", units.BytesSI, "What the replication "+
			"slot holds back on PostgreSQL's disk. Growing: the connector is away or too slow, "+
			"and the disk will fill.", target{"{{slot_name}}", "max by (slot_name) (" +
			ofRun("pg_replication_slots_pg_wal_lsn_diff") + ")"}),
	}
}
