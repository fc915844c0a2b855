package alerts

import (
	"fmt"
	"time"

	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports/limit"
)

// causes are the dead parts that explain lag and latency.
var causes = []Silence{{By: "KafkaLost"}, {By: "MongoLost"}}

// lagAlerts are section 2.6.2. The limit is of a topic, because its records wait together; the
// alert names each partition with a part in the lag.
func lagAlerts() []Alert {
	const lag = telemetry.MetricLag
	above := func(least float64) string {
		return fmt.Sprintf("max by (topic, partition) (%[1]s) > 0 and on (topic) "+
			"sum by (topic) (max by (topic, partition) (%[1]s)) > %[2]g", lag, least)
	}
	where := map[string]string{"topic": "cdc.public.order", "partition": "3"}
	series := lag + `{topic="cdc.public.order",partition="3"}`
	const action = "Look whether the consumer is slow or the source fast: the panels of rate and " +
		"of latency by stage tell. Slow with a busy processor: more consumers, up to the number " +
		"of partitions. Slow with MongoDB's time: look there. Paused partitions: the log says why."
	return []Alert{{
		Name: "ConsumerLag", Section: "2.6.2", Severity: Warning, Component: "consumer",
		Query: above(limit.LagWarning), For: limit.LagFor, Dashboard: kafka,
		Summary: "{topic} is more than 1000 records behind; partition {partition} has {value}",
		Action:  action,
		SilencedBy: append([]Silence{{"ConsumerLagCritical", []string{"topic", "partition"}}},
			causes...),
		Trial: Trial{Hot: []Series{gauge(series, limit.LagWarning+1, 0)},
			Cool: []Series{gauge(series, limit.LagWarning, 0)}, Labels: where},
	}, {
		Name: "ConsumerLagCritical", Section: "2.6.2", Severity: Critical, Component: "consumer",
		Query: above(limit.LagCritical), For: limit.LagFor, Dashboard: kafka,
		Summary:    "{topic} is more than 10000 records behind; partition {partition} has {value}",
		Action:     action,
		SilencedBy: causes,
		Trial: Trial{Hot: []Series{gauge(series, limit.LagCritical+1, 0)},
			Cool: []Series{gauge(series, limit.LagCritical, 0)}, Labels: where},
	}, {
		Name: "ConsumerLagGrowing", Section: "2.6.2", Severity: Critical, Component: "consumer",
		Query: fmt.Sprintf("max by (topic, partition) (deriv(%[1]s[5m])) > 0 and "+
			"max by (topic, partition) (%[1]s) > %[2]g", lag, limit.LagGrowsFrom),
		For: limit.LagGrowsFor, Dashboard: kafka,
		Summary: "partition {partition} of {topic} falls behind by {value} records a second",
		Action: "The consumer will not catch up by itself. Add consumers, up to the number of " +
			"partitions, or lower the load; one partition alone points to a key that gets most " +
			"of the writes.",
		SilencedBy: causes,
		Trial: Trial{Hot: []Series{rising(series, limit.LagGrowsFrom+1, 1)},
			Cool:   []Series{gauge(series, 10*limit.LagGrowsFrom, 0)},
			After:  step,
			Clears: step, Labels: where},
	}}
}

// ended counts the events with an end, and records that are no events, in a second.
var ended = fmt.Sprintf(`(sum(rate(%s{outcome!~"parked|dead_letter"}[1m])) or vector(0)) + `+
	`sum(rate(%s[1m]))`, telemetry.MetricEvents, telemetry.MetricDeadLetters)

// errorType is a counter by the type of the error: the label tells the type.
func errorType(counts, label string) string {
	return fmt.Sprintf(`label_join(%s, "error_type", "", %q)`, counts, label)
}

// errorAlerts are section 2.6.3. An error is an event's end as a dead letter; zero tolerance also
// counts what was tried again.
func errorAlerts() []Alert {
	byType := fmt.Sprintf("sum by (error_type) (%s)",
		errorType(fmt.Sprintf("rate(%s[1m])", telemetry.MetricDeadLetters), "rule"))
	letters := telemetry.MetricDeadLetters + `{rule="enum",entity="order"}`
	events := telemetry.MetricEvents + `{entity="order",operation="CREATE",outcome="applied"}`
	const action = "List the letters (go run . dlq list --rule {error_type}), correct the cause " +
		"in the source or the spec, then dlq replay."
	where := map[string]string{"error_type": "enum"}
	any := anyOf(
		"sum by (error_type) ("+errorType(recent(telemetry.MetricDeadLetters, 2*window,
			"rule"), "rule")+")",
		"sum by (error_type) ("+errorType(recent(telemetry.MetricRetries, 2*window, "reason"),
			"reason")+")",
		"sum by (error_type) ("+errorType(recent(telemetry.MetricMongoFailures, 2*window,
			"command"), "command")+")")
	return []Alert{{
		Name: "ErrorRate", Section: "2.6.3", Severity: Warning, Component: "consumer",
		Query: share(byType, ended, limit.ErrorsWarning), For: limit.ErrorsFor,
		Summary:    "{value%} of the events end as dead letters of the rule {error_type}",
		Action:     action,
		Dashboard:  consumer,
		SilencedBy: []Silence{{By: "ErrorRateCritical", Equal: []string{"error_type"}}},
		Trial: Trial{Hot: []Series{counter(letters, 1.1), counter(events, 98.9)},
			Cool:  []Series{counter(letters, 1), counter(events, 99)},
			After: step, Clears: window, Labels: where},
	}, {
		Name: "ErrorRateCritical", Section: "2.6.3", Severity: Critical, Component: "consumer",
		Query: share(byType, ended, limit.ErrorsCritical), For: limit.ErrorsFor,
		Summary: "{value%} of the events end as dead letters of the rule {error_type}",
		Action:  action, Dashboard: consumer,
		Trial: Trial{Hot: []Series{counter(letters, 5.1), counter(events, 94.9)},
			Cool:  []Series{counter(letters, 4.9), counter(events, 95.1)},
			After: step, Clears: window, Labels: where},
	}, {
		Name: "AnyError", Section: "2.6.3", Severity: Critical, Component: "consumer",
		Query: "(" + any + "\n) > 0 and on () " + zeroTolerance + " == 1",
		For:   limit.ZeroErrorsAfter, Dashboard: consumer,
		Summary: "{value} errors of the type {error_type} in 2 minutes, in zero-tolerance mode",
		Action: "Zero tolerance is for runs in which nothing may go wrong; prometheus/rules/" +
			"switches.yaml turns it off. A rule is a dead letter (dlq list), a reason or a " +
			"command was tried again: the log says at which server.",
		Trial: Trial{
			Hot: []Series{born(letters, 1), gauge(zeroTolerance, 1, 1),
				counter(telemetry.MetricRetries+`{reason="network"}`, 0)},
			Cool:   []Series{born(letters, 1), gauge(zeroTolerance, 0, 0)},
			Length: limit.ZeroErrorsAfter + step,
			Clears: 2 * window, Labels: where},
	}}
}

// latencyAlerts are section 2.6.4, of the time from the commit to the acknowledged write.
func latencyAlerts() []Alert {
	more := map[string]string{"p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99)}
	const summary = "from the commit to MongoDB: p50 {p50@s}, p95 {p95@s}, p99 {p99@s}"
	const action = "The panel of latency by stage tells which part is slow: up to Kafka the " +
		"connector, up to the consumer its lag, then MongoDB. A clock that is wrong looks like a " +
		"slow stage: compare the machines' clocks."
	made := func(name string, severity Severity, q, ms float64, long time.Duration) Alert {
		return Alert{
			Name: name, Section: "2.6.4", Severity: severity, Component: "consumer",
			Query: fmt.Sprintf("%s > %g", quantile(q), ms/1000), For: long, More: more,
			Summary: summary, Action: action, Dashboard: overview, SilencedBy: causes,
			Trial: Trial{Hot: latencies(q, ms/1000*1.01), Cool: latencies(q, ms/1000*0.99),
				After: step, Clears: window + step},
		}
	}
	all := []Alert{
		made("LatencyP95", Warning, 0.95, limit.LatencyP95WarningMs, limit.LatencyP95For),
		made("LatencyP95Critical", Critical, 0.95, limit.LatencyP95CriticalMs,
			limit.LatencyP95For),
		made("LatencyP99Critical", Critical, 0.99, limit.LatencyP99CriticalMs,
			limit.LatencyP99For),
	}
	all[0].SilencedBy = append([]Silence{{By: "LatencyP95Critical"}}, causes...)
	return all
}
