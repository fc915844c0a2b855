// Package limit holds the numbers of the specification, each once: what a Run is judged by, what
// the dashboards draw a line at, and when alerts fire. The package judges nothing. Start reading at
// the first group of constants.
package limit

import "time"

// The limits of a Run under normal load: sections 2.7.2 and 2.7.7. Latencies are in milliseconds,
// from the intended write to the visible document; rates are shares of one.
const (
	P50Ms     = 500.0
	P95Ms     = 2000.0
	P99Ms     = 5000.0
	ErrorRate = 0.001
	// RecoverySeconds is from the end of a fault to the end of the lag.
	RecoverySeconds = 60.0
	// Achieved is the least share of the offered rate to be acknowledged by PostgreSQL; one per
	// cent is for the seconds cut off at both ends.
	Achieved = 0.99
	// Success is the least share of writes seen in MongoDB in time.
	Success = 0.999
	// StatementP95Ms and StatementP99Ms are of PostgreSQL's statements.
	StatementP95Ms = 100.0
	StatementP99Ms = 200.0
)

// The limits of the alerts: sections 2.6.2 to 2.6.8. An alert is above its limit for the duration
// beside the limit.
const (
	LagWarning  = 1000.0 // records of a topic
	LagCritical = 10000.0
	LagFor      = 5 * time.Minute
	LagGrowsFor = 15 * time.Minute
	// LagGrowsFrom keeps a lag of some batches, going up and down, from being growth.
	LagGrowsFrom = 100.0

	ErrorsWarning   = 0.01 // of the events
	ErrorsCritical  = 0.05
	ErrorsFor       = 5 * time.Minute
	ZeroErrorsAfter = time.Minute

	LatencyP95WarningMs  = 500.0 // from the commit to the acknowledged write
	LatencyP95CriticalMs = 2000.0
	LatencyP95For        = 5 * time.Minute
	LatencyP99CriticalMs = 5000.0
	LatencyP99For        = time.Minute

	PoolWarning = 0.8 // of the connections

	ValidationWarning  = 0.01 // of the events
	ValidationCritical = 0.05
	ValidationFor      = 5 * time.Minute

	LettersCritical = 100.0 // records of the dead-letter topic
	LettersGrowFor  = 30 * time.Minute
)

// Use is a row of section 2.7.6: the share of a capacity that is a warning, and the critical share,
// in per cent.
type Use struct{ Warning, Critical float64 }

// The rows of section 2.7.6.
var (
	CPU         = Use{70, 90}
	Memory      = Use{70, 85}
	Disk        = Use{60, 80}
	Connections = Use{80, 95}
)
