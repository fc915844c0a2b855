// Package alerts is the one table of the pipeline's alerts, and writes the table as files: rules
// for a Prometheus and their tests, the same rules for a Grafana, an Alertmanager's configuration
// and RUNBOOK.md. The package evaluates nothing and notifies nobody. Start reading at Alert, then
// All.
package alerts

import (
	"slices"
	"time"
)

// Severity decides who is told: the label severity of an alert.
type Severity string

// The severities of section 2.6. Info wakes nobody, Critical wakes somebody.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Alert is one rule. Summary and Action may hold {label} for a label of the alert, and {value} or
// the name of one of More for a number: {value%} shows a share in per cent, {value@s} seconds.
type Alert struct {
	Name string
	// Section is the specification's, "" for an alert that the specification does not ask for.
	Section  string
	Severity Severity
	// Component is the part of the pipeline to look at; "" where a label component of Query tells.
	Component string
	// Query is PromQL with a result while something is wrong, and no result otherwise; the values
	// are not below 0. Of a Loki alert Query is LogQL.
	Query string
	// For is the time for something to be wrong before the alert fires.
	For time.Duration
	// More are further queries of one number each, by name, for the texts.
	More map[string]string
	// Summary says what is wrong, Action what to do.
	Summary, Action string
	// SilencedBy are alerts that explain this one.
	SilencedBy []Silence
	// Dashboard is the UID of the dashboard to look at.
	Dashboard string
	// Loki is true for an alert on logs: Grafana alone evaluates such an alert.
	Loki bool
	// Trial makes the alert fire in a test; a Loki alert has none.
	Trial Trial
}

// Silence names an alert, and the labels that must be equal for it to silence another.
type Silence struct {
	By    string
	Equal []string
}

// The UIDs of the dashboards, from stack/grafana.
const (
	overview   = "cdclab-overview"
	kafka      = "cdclab-kafka"
	consumer   = "cdclab-consumer"
	mongodb    = "cdclab-mongodb"
	validation = "cdclab-validation"
	logs       = "cdclab-logs"
	collector  = "cdclab-collector"
)

// All returns the table, in the order of the specification's sections.
func All() []Alert {
	return slices.Concat(lagAlerts(), errorAlerts(), latencyAlerts(), connectionAlerts(),
		validationAlerts(), schemaAlerts(), letterAlerts(), absenceAlerts(), standstillAlerts(),
		logAlerts())
}

// find returns the alert of the name.
func find(all []Alert, name string) (Alert, bool) {
	i := slices.IndexFunc(all, func(a Alert) bool { return a.Name == name })
	if i < 0 {
		return Alert{}, false
	}
	return all[i], true
}
