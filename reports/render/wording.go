package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// shownStages are the stages in the order of the tables; the consumer's stages lie in the pipeline.
var shownStages = []struct {
	stage  string
	nested bool
}{
	{reports.ScheduleDelay, false}, {reports.Commit, false}, {reports.Pipeline, false},
	{reports.SourceToConnector, true}, {reports.ConnectorToKafka, true},
	{reports.KafkaToConsumer, true}, {reports.ConsumerToApplied, true},
	{reports.E2E, false}, {reports.E2ESteady, false},
}

func startText(r *reports.Run) string {
	return r.TestRun.StartTime.UTC().Format("2006-01-02 15:04:05 UTC")
}

func commitText(p *reports.Provenance) string {
	commit := cmp.Or(reports.ShortHash(p.Commit), "none")
	if p.Dirty {
		commit += " with changes"
	}
	return commit
}

// clocksText is "postgres 0.01 ms (+- 0.05), consumer -0.02 ms (+- 0.3); not measured: kafka,
// because ...".
func clocksText(clock reports.Clock) string {
	var texts []string
	for _, o := range clock.Offsets {
		texts = append(texts, fmt.Sprintf("%s %s (± %s)", o.Component,
			unit.Amount(o.OffsetMs, "ms"),
			unit.Number(o.UncertaintyMs)))
	}
	text := strings.Join(texts, ", ")
	switch {
	case clock.NotMeasured == "":
		return text
	case text == "":
		return "not measured: " + clock.NotMeasured
	}
	return text + "; not measured: " + clock.NotMeasured
}

// droppedText is a number of dropped iterations, or "?".
func droppedText(n int64) string {
	if n < 0 {
		return "?"
	}
	return fmt.Sprint(n)
}

func appliedText(f reports.FaultWindow) string {
	switch {
	case !f.Applied:
		return "NOT applied"
	case f.Proxy != "":
		return fmt.Sprintf("applied, %s through %s", unit.Bytes(f.ProxyBytes), f.Proxy)
	}
	return "applied"
}

func recoveryText(f reports.FaultWindow) string {
	if f.RecoveredSeconds < 0 {
		return "recovery unknown"
	}
	return fmt.Sprintf("recovered after %s s", unit.Number(f.RecoveredSeconds))
}

// breakpointLines returns the search as a table.
func breakpointLines(b *reports.Breakpoint) []string {
	if len(b.Probes) == 0 {
		return nil
	}
	var lines []string
	for i, p := range b.Probes {
		result := "held"
		if !p.Held {
			result = p.Reason
		}
		if i == 0 {
			result = "open ramp: " + result
		}
		lines = append(lines, fmt.Sprintf("%7s/s  %7s/s committed  p50 %s  p95 %s  p99 %s ms  %s",
			unit.Number(p.Rate),
			unit.Number(p.Achieved), unit.Ms(p.P50), unit.Ms(p.P95), unit.Ms(p.P99), result))
	}
	if open := b.Inconclusive(); open != "" {
		return append(lines, open)
	}
	return append(lines, fmt.Sprintf("breakpoint %s/s held for %s s, %s/s did not; first to "+
		"break: %s (%s)",
		unit.Number(b.Rate), unit.Number(b.HoldSeconds), unit.Number(b.Broke), b.Part, b.Why))
}

// lagText returns a Lag in a few words.
func lagText(l reports.Lag) string {
	text := fmt.Sprintf("%s: at most %s records (second %s), %s at the end", l.Pattern,
		unit.Number(l.Max), unit.Number(l.MaxSecond), unit.Number(l.End))
	switch {
	case l.RecoverySeconds > 0:
		text += fmt.Sprintf("; recovered within %s s", unit.Number(l.RecoverySeconds))
	case l.RecoverySeconds < 0:
		text += "; not recovered"
	}
	return text
}

// lagLines are the lag, its rate, the records in and out, and the lag seen by Prometheus, by the
// specification's names.
func lagLines(r *reports.Run) []string {
	if !r.Lag.Known {
		return nil
	}
	lines := []string{"kafka_consumer_lag " + lagText(r.Lag)}
	seconds, values := r.DuringLoad(r.Looks.Gauge("consumer", reports.GaugeLag))
	var fastest float64
	for i := 1; i < len(values); i++ {
		if between := seconds[i] - seconds[i-1]; between > 0 {
			fastest = max(fastest, (values[i]-values[i-1])/between)
		}
	}
	lines = append(lines, fmt.Sprintf("kafka_consumer_lag_rate %s over the load, at most %s "+
		"between two looks",
		unit.Amount(r.Lag.PerSecond, "records/s"), unit.Amount(fastest, "records/s")))
	produced, known := r.MeanDuringLoad(r.Looks.Gauge("consumer", reports.GaugeProduced))
	consumed, alsoKnown := r.MeanDuringLoad(r.Looks.Gauge("consumer", reports.GaugeConsumed))
	if known && alsoKnown {
		lines = append(lines, fmt.Sprintf("offered %s writes/s; produced %s, consumed %s "+
			"records/s (a delete is an event and a tombstone)",
			unit.Number(r.Summary.Throughput.Offered), unit.Number(produced),
			unit.Number(consumed)))
	}
	if _, seen := r.DuringLoad(r.Looks.Gauge("prometheus", reports.GaugeLag)); len(seen) > 0 {
		lines = append(lines, fmt.Sprintf("as Prometheus sees it: at most %s records, %s at the "+
			"end", unit.Number(slices.Max(seen)), unit.Number(seen[len(seen)-1])))
	}
	return lines
}
