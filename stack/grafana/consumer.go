package grafana

import (
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports/limit"
)

// consumerBoard is section 2.5.4. The specification's JVM is the Go runtime here; the JVM's panels
// of Kafka and Connect are on their own dashboard.
func consumerBoard() (dashboard.Dashboard, error) {
	board := newBoard("consumer", "consumer", "What the consumer does, and what it costs")
	withChoices(board, "run", "instance", "entity")
	return build(board, slices.Concat([]cog.Builder[dashboard.Panel]{
		number("Consumers", units.Short, "count("+ofConsumer(telemetry.MetricBuild)+
			") or vector(0)", "Members of the group with metrics. More than partitions: the rest "+
			"is idle.").Thresholds(least(1)),
		number("Retries a second", units.RequestsPerSecond, "sum(rate("+
			ofConsumer(telemetry.MetricRetries)+"[$__rate_interval])) or vector(0)",
			"Should be 0. The panel of retries names the reason, the log the server.").
			Thresholds(below(1)),
		number("Dead letters", units.Short, "max("+ofConsumer(telemetry.MetricDeadLetterRecords)+
			")", "Records in the dead-letter topic; alerts from 1 and from 100. dlq list shows "+
			"the reasons, dlq replay answers.").Thresholds(warned(1, limit.LettersCritical)),
		number("Parked", units.Short, "sum("+ofConsumer(telemetry.MetricParkedRecords, "entity")+
			") or vector(0)", "Events that wait for the row they refer to. Growing: the referred "+
			"table is not replicated, or late."),
		number("Paused partitions", units.Short, "sum("+
			ofConsumer(telemetry.MetricPausedPartitions)+")", "Partitions that back off from an "+
			"error and try again by themselves: which server is away?").Thresholds(below(1)),
		number("Blocked partitions", units.Short, "sum("+
			ofConsumer(telemetry.MetricBlockedPartitions)+")", "Partitions that cannot go on: "+
			"raise --fetch-max-bytes.").Thresholds(below(1)),
		graph("Events a second", units.RequestsPerSecond, "The processing rate by entity and "+
			"operation. A sudden halt without lag: the source is quiet.",
			target{"{{entity}} {{operation}}", rate(ofConsumer(ended, "entity"), "entity",
				"operation")}),
		heat("Processing time of a batch", units.Seconds, "From taking up a batch to its last "+
			"acknowledgement. A second band far above the first: retries or a slow server.",
			buckets(ofConsumer(telemetry.MetricProcessingSeconds))),
		graph("Processing time", units.Seconds, "The same as numbers. p99 alone high: single "+
			"batches wait for a server.",
			quantiles(ofConsumer(telemetry.MetricProcessingSeconds))...),
		heat("Batch size", units.Short, "Records in a batch of one partition. Large batches are "+
			"the sign of a lag, and are written with less effort for each record.",
			buckets(ofConsumer(telemetry.MetricBatchSize))),
		graph("Retries by reason", units.RequestsPerSecond, "network, timeout, server and "+
			"write_concern are MongoDB's, kafka the broker's, key_change waits for the other "+
			"half of a changed key, memory is --memory-max at work.",
			target{"{{reason}}", rate(ofConsumer(telemetry.MetricRetries), "reason") +
				" or vector(0)"}),
		limited(graph("Dead-letter topic", units.Short, "Growing: the same rule again and "+
			"again is a change in the source; dlq list groups by rule.",
			target{"records", "max(" + ofConsumer(telemetry.MetricDeadLetterRecords) + ")"}),
			warned(1, limit.LettersCritical)),
		graph("Dead letters by rule", units.RequestsPerSecond, "The rule names the cause: "+
			"RUNBOOK.md, ErrorRate.", target{"{{rule}} {{entity}}",
			rate(ofConsumer(telemetry.MetricDeadLetters, "entity"), "rule", "entity") +
				" or vector(0)"}),
	}, runtimePanels())...)
}

// runtimePanels are of Go's runtime, the process and the group.
func runtimePanels() []cog.Builder[dashboard.Panel] {
	const name = "{{instance}}"
	return []cog.Builder[dashboard.Panel]{
		graph("Memory", units.BytesSI, "Go's heap and the process. Near --memory-max the fetches "+
			"wait; a heap that grows for hours is a leak: take a profile.",
			target{"heap " + name, ofConsumer("go_memstats_heap_inuse_bytes")},
			target{"process " + name, ofConsumer("process_resident_memory_bytes")},
			target{"records held " + name, ofConsumer(telemetry.MetricHeldBytes)},
			target{"records parked " + name, ofConsumer(telemetry.MetricParkedBytes)}),
		graph("Garbage collection", units.Seconds, "The longest stop of a collection, and the "+
			"mean. Above 10 ms: too little memory or processor.",
			target{"longest " + name, ofConsumer(`go_gc_duration_seconds{quantile="1"}`)},
			target{"mean " + name, "sum by (instance) (rate(" +
				ofConsumer("go_gc_duration_seconds_sum") + "[$__rate_interval])) / " +
				"clamp_min(sum by (instance) (rate(" + ofConsumer("go_gc_duration_seconds_count") +
				"[$__rate_interval])), 1e-9)"}),
		limited(graph("Processor", units.PercentUnit, "Shares of one core. At the number of "+
			"cores the consumer is the limit: more consumers.", target{name, "sum by (instance) (" +
			"rate(" + ofConsumer("process_cpu_seconds_total") + "[$__rate_interval]))"}),
			warned(limit.CPU.Warning/100, limit.CPU.Critical/100)),
		graph("Goroutines", units.Short, "Growing for hours is a leak: take a profile.",
			target{name, ofConsumer("go_goroutines")}),
		graph("Partitions and rebalances", units.Short, "Each rebalance stops the partitions that "+
			"move. Many: a consumer that restarts, or a session timeout that is too short.",
			target{"assigned " + name, ofConsumer(telemetry.MetricAssignedPartitions)},
			target{"rebalances {{kind}}", "sum by (kind) (increase(" +
				ofConsumer(telemetry.MetricRebalances) + "[$__range]))"}),
	}
}
