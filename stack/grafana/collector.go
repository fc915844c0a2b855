package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// signals are the three kinds of telemetry, by the end of the collector's counters.
var signals = []string{"spans", "metric_points", "log_records"}

// ofSignals is a line for each signal and each value of a label, of counters in a second.
func ofSignals(before, label string) []target {
	var all []target
	for _, signal := range signals {
		all = append(all, target{signal + " {{" + label + "}}", "sum by (" + label + ") (rate(" +
			ofRun("otelcol_"+before+"_"+signal+"_total") + "[$__rate_interval])) or vector(0)"})
	}
	return all
}

// collectorBoard is section 2.5.9, of the collector's own metrics.
// https://opentelemetry.io/docs/collector/internal-telemetry/
func collectorBoard() (dashboard.Dashboard, error) {
	board := newBoard("collector", "OpenTelemetry Collector",
		"What comes in, what goes out, what is lost on the way")
	withChoices(board, "run")
	const queue, size = "otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity"
	full := "max(" + ofRun(queue) + " / on (run, instance, exporter, data_type) " + ofRun(size) +
		")"
	lost := func(before string) string {
		sum := ""
		for i, signal := range signals {
			if i > 0 {
				sum += " + "
			}
			sum += "(sum(rate(" + ofRun("otelcol_"+before+"_"+signal+"_total") +
				"[$__rate_interval])) or vector(0))"
		}
		return sum
	}
	return build(board,
		number("Up", units.Short, "min("+ofRun(`up{job="otel-collector"}`)+")", "1 is up. Without "+
			"the collector no other panel has data: look at its log.").Thresholds(least(1)),
		number("Refused a second", units.Short, lost("receiver_refused"), "What the memory limit "+
			"turned away; the sender tries again. Raise CDC_OTEL_MEMORY_MIB, or send less.").
			Thresholds(below(0.1)),
		number("Lost at exporters", units.Short, lost("exporter_send_failed"), "What could not be "+
			"sent, after all tries: is the server behind the exporter up?").Thresholds(below(0.1)),
		number("Queues", units.PercentUnit, full, "The fullest queue. Full: its exporter is too "+
			"slow or its server away, and data is lost from now on.").
			Thresholds(warned(0.5, 0.9)),
		number("Memory", units.BytesSI, "sum("+ofRun("otelcol_process_memory_rss_bytes")+")",
			"The process. At the limit of CDC_OTEL_MEMORY_MIB data is refused."),
		number("Processor", units.PercentUnit, "sum(rate("+
			ofRun("otelcol_process_cpu_seconds_total")+"[$__rate_interval]))", "Shares of one "+
			"core. A whole core: sample less, scrape less often.").Thresholds(warned(0.7, 0.9)),
		graph("Received", units.RequestsPerSecond, "By signal and receiver. A line at 0: the "+
			"sender is away, or sends elsewhere.", ofSignals("receiver_accepted", "receiver")...),
		graph("Exported", units.RequestsPerSecond, "By signal and exporter. Far below received: "+
			"the filter and the sampling (traces, wanted), or a queue that fills.",
			ofSignals("exporter_sent", "exporter")...),
		graph("Queue depth", units.Short, "By exporter and signal, in batches. Growing: the "+
			"server behind the exporter does not keep up.", target{"{{exporter}} {{data_type}}",
			ofRun(queue)}, target{"capacity", "max(" + ofRun(size) + ")"}),
		graph("Dropped: refused by receivers", units.RequestsPerSecond, "Alert TelemetryLost. The "+
			"memory limit is reached.", ofSignals("receiver_refused", "receiver")...),
		graph("Dropped: failed at exporters", units.RequestsPerSecond, "Alert TelemetryLost. The "+
			"exporter's server refuses, or is away for longer than the tries last.",
			append(ofSignals("exporter_send_failed", "exporter"),
				ofSignals("exporter_enqueue_failed", "exporter")...)...),
		graph("Exporter latency", units.Seconds, "Requests of the HTTP exporters, p95. Slow: the "+
			"server, or batches that are too large.", target{"{{server_address}}",
			"histogram_quantile(0.95, " + rate(ofRun("http_client_request_duration_seconds_bucket"),
				"le", "server_address") + ")"}),
		graph("Sampled traces", units.RequestsPerSecond, "By policy: errors and slow ones are all "+
			"kept. Not sampled is the rest.", target{"{{policy}} {{sampled}}",
			"sum by (policy, sampled) (rate(" +
				ofRun("otelcol_processor_tail_sampling_count_traces_sampled_total") +
				"[$__rate_interval]))"}),
		graph("Memory over time", units.BytesSI, "The heap and the process. A heap that grows "+
			"with the load is the tail sampling's: fewer num_traces, a shorter decision_wait.",
			target{"heap", ofRun("otelcol_process_runtime_heap_alloc_bytes")},
			target{"process", ofRun("otelcol_process_memory_rss_bytes")}),
	)
}
