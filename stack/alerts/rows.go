package alerts

import (
	"fmt"
	"time"

	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
	"github.com/cdclab/cdclab/reports/limit"
)

// notice is the life of an alert on a single event.
const notice = 15 * time.Minute

// validationAlerts are section 2.6.6. A broken rule of severity warn is seen on the dashboard
// alone; a missing referred row is an alert under any severity.
func validationAlerts() []Alert {
	const (
		failed = telemetry.MetricValidationFailed + `{severity="reject"}`
		one    = telemetry.MetricValidationFailed + `{severity="reject",rule="enum",entity="order"}`
		passed = telemetry.MetricValidationPassed
	)
	judged := fmt.Sprintf("(sum(rate(%s[1m])) or vector(0)) + sum(rate(%s[1m]))", passed, failed)
	const references = `{rule=~"` + fate.RuleReference + "|" + fate.RuleParent + `"}`
	reference := fmt.Sprintf(`%s{rule="%s",entity="order",severity="warn"}`,
		telemetry.MetricValidationFailed, fate.RuleReference)
	where := map[string]string{"rule": "enum"}
	const action = "go run . dlq list --rule {rule} shows the rows. Correct the source, or the " +
		"spec where the rule is wrong, then dlq replay --rule {rule}."
	return []Alert{{
		Name: "ValidationFailures", Section: "2.6.6", Severity: Warning, Component: "consumer",
		Query: share(rate(failed, "rule"), judged, limit.ValidationWarning),
		For:   limit.ValidationFor, Dashboard: validation, Action: action,
		Summary:    "{value%} of the events break the rule {rule}",
		SilencedBy: []Silence{{"ValidationFailuresCritical", []string{"rule"}}},
		Trial: Trial{Hot: []Series{counter(one, 1.1), counter(passed, 98.9)},
			Cool:  []Series{counter(one, 1), counter(passed, 99)},
			After: step, Clears: window, Labels: where},
	}, {
		Name: "ValidationFailuresCritical", Section: "2.6.6", Severity: Critical,
		Component: "consumer", Query: share(rate(failed, "rule"), judged, limit.ValidationCritical),
		For: limit.ValidationFor, Dashboard: validation, Action: action,
		Summary: "{value%} of the events break the rule {rule}",
		Trial: Trial{Hot: []Series{counter(one, 5.1), counter(passed, 94.9)},
			Cool:  []Series{counter(one, 4.9), counter(passed, 95.1)},
			After: step, Clears: window, Labels: where},
	}, {
		Name: "ReferenceBroken", Section: "2.6.6", Severity: Critical, Component: "consumer",
		Query: "(" + anyOf(
			recent(telemetry.MetricValidationFailed+references, notice, "rule", "entity"),
			recent(telemetry.MetricDeadLetters+references, notice, "rule", "entity")) + "\n) > 0",
		Dashboard: validation,
		Summary:   "{value} rows of {entity} refer to a row that did not come (rule {rule})",
		Action: "Is the referred table replicated, and its topic among --topics? Rows that wait " +
			"longer than the spec's grace are stored or become letters, as the spec says; dlq " +
			"replay --rule {rule} when the referred rows are there.",
		Trial: Trial{Hot: []Series{born(reference, 1)}, Cool: []Series{gauge(reference, 0, 0)},
			Length: 2 * time.Minute, Clears: notice,
			Labels: map[string]string{"rule": fate.RuleReference, "entity": "order"}},
	}}
}

// schemaAlerts are section 2.6.7, each of one severity of the consumer's metric.
func schemaAlerts() []Alert {
	changed := func(name string, severity Severity, of, kind, summary, action string) Alert {
		series := fmt.Sprintf(`%s{severity=%q,entity="order",column="note",kind=%q}`,
			telemetry.MetricSchemaChanges, of, kind)
		return Alert{
			Name: name, Section: "2.6.7", Severity: severity, Component: "consumer",
			Query: recent(fmt.Sprintf(`%s{severity=%q}`, telemetry.MetricSchemaChanges, of),
				notice, "entity", "column", "kind") + " > 0",
			Dashboard: validation, Summary: summary, Action: action,
			Trial: Trial{Hot: []Series{born(series, 1)}, Cool: []Series{gauge(series, 0, 0)},
				Length: 2 * time.Minute, Clears: notice,
				Labels: map[string]string{"entity": "order", "column": "note", "kind": kind}},
		}
	}
	return []Alert{
		changed("ColumnAdded", Info, "info", "added", "column {column} of {entity}: {kind}",
			"Nothing has to be done: new columns are stored. A rule for one goes into the spec."),
		changed("ColumnRemoved", Warning, "warn", "removed", "column {column} of {entity}: {kind}",
			"Documents keep the last value. Where the spec requires the column, its rows are "+
				"letters from now on: consumer/ADDING-A-TABLE.md says what to change."),
		changed("ColumnIncompatible", Critical, "error", "incompatible",
			"column {column} of {entity} changed its type: {kind}",
			"Older values do not fit the new type: their members keep what they were. Declare "+
				"the column in the spec, or take a new snapshot with a higher --epoch."),
	}
}

// letterAlerts are section 2.6.8, of the topic's size: whoever has answered the letters trims the
// topic (kafka-delete-records), and the alerts end.
func letterAlerts() []Alert {
	const letters = telemetry.MetricDeadLetterRecords
	size := "max(" + letters + ")"
	const action = "go run . dlq list shows the letters, with reasons; dlq replay or dlq drop " +
		"answers them. A trimmed topic (kafka-delete-records) ends the alert."
	made := func(name string, severity Severity, least float64, summary string) Alert {
		return Alert{
			Name: name, Section: "2.6.8", Severity: severity, Component: "dead letters",
			Query: fmt.Sprintf("%s > %g", size, least), Dashboard: consumer,
			Summary: summary, Action: action,
			Trial: Trial{Hot: []Series{gauge(letters, least+1, 0)},
				Cool: []Series{gauge(letters, least, 0)}},
		}
	}
	any := made("DeadLetters", Warning, 0, "the dead-letter topic holds {value} records")
	any.SilencedBy = []Silence{{By: "DeadLettersCritical"}}
	grow := made("DeadLettersGrowing", Critical, 0,
		"dead letters for half an hour: {value} in 5 minutes, {count} in all")
	grow.Query = fmt.Sprintf("%s - max(%s offset 5m) > 0", size, letters)
	grow.For, grow.More = limit.LettersGrowFor, map[string]string{"count": size}
	grow.Trial = Trial{Hot: []Series{rising(letters, 1, 1)}, Cool: []Series{gauge(letters, 99, 0)},
		After: 5 * time.Minute, Clears: step}
	return []Alert{any, made("DeadLettersCritical", Critical, limit.LettersCritical,
		"the dead-letter topic holds {value} records"), grow}
}

// logAlerts are on lines of logs (2.5.8), which no metric counts.
func logAlerts() []Alert {
	return []Alert{{
		Name: "ErrorLines", Section: "2.5.8", Severity: Warning, Loki: true, For: 5 * time.Minute,
		Component: "logs", Dashboard: logs,
		Query: `sum by (service_name) (count_over_time({service_name=~".+", ` +
			`level=~"ERROR|FATAL"}[5m])) > 0`,
		Summary: "{service_name} logged {value} errors in 5 minutes",
		Action:  "The dashboard of logs shows the lines, with a link to the trace of each.",
	}}
}
