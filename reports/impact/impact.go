// Package impact says what each fault of a Run did to the pipeline: when the numbers first showed
// the fault, how bad the latency became, and when the steady state was back. The package reads the
// Run alone and decides no verdict. Start reading at Of.
package impact

import (
	"math"
	"slices"

	"github.com/cdclab/cdclab/reports"
)

// The steady state is the second in the middle of the seconds before the first fault, or, where a
// Run has too few, of all seconds without a fault. A second is outside
// of the steady state whose p95 is more than maxTimes the steady p95 and leastMs more, or whose
// commits or rows seen are less than minShare of what was offered, or at whose end more writes were
// still to be seen than behindFor seconds offer.
const (
	maxTimes = 3
	leastMs  = 50.0
	minShare = 0.5
	// SteadyFor is how many seconds in a row must be steady again.
	SteadyFor = 10
	// GoalSeconds is the goal for a recovery after a single fault.
	GoalSeconds = 10
	// leastSteady is how many seconds tell what is steady.
	leastSteady = 3
	// behindFor seconds of the offered writes may wait at the end of a steady second.
	behindFor = 1
)

// Signs of a fault, in the words of the report.
const (
	byCommits = "writes not acknowledged"
	byVisible = "rows not seen"
	byLatency = "latency"
	byWaiting = "rows waiting"
)

// Impact is the effect of one fault.
type Impact struct {
	Fault, Target string
	Applied       bool
	// DetectSeconds is from the begin of the fault to the end of the first second that was not
	// steady, as a person at a dashboard would see; -1 is a fault that no second shows. By is the
	// sign.
	DetectSeconds float64
	By            string
	// SteadySeconds is from the fault's end to the begin of SteadyFor steady seconds in a row; -1
	// is a Run that ended before.
	SteadySeconds float64
	// BackSeconds is from the fault's end to the begin of the first steady second: what waited was
	// seen. 0 is a fault in whose last second nothing showed; -1 is a fault that ended while
	// another was at work, or after which no such second came before the next fault, or the end.
	BackSeconds float64
	// OpenSeconds is from the fault's end to the begin of the next fault where no steady second
	// came between; else 0.
	OpenSeconds float64
	// WorstP95 is of the seconds from the fault's begin until the steady state, or until the next
	// fault that begins after the end, in milliseconds; Degradation is WorstP95 by the steady p95.
	WorstP95, Degradation float64
	// WorstP99 is of the same seconds.
	WorstP99 float64
	// MaxLag is the greatest number of writes in the same seconds that were committed and not yet
	// seen at the end of a second.
	MaxLag int64
}

// state is the steady state of a Run.
type state struct {
	p95 float64
	// offered is the number of writes of a second in the middle of the Run's seconds.
	offered int64
}

// Of returns the Impact of each fault in the Run's order; nil for a Run whose seconds do not tell
// what is steady.
func Of(r *reports.Run) []Impact {
	steady, ok := steadyOf(r)
	if !ok || len(r.Faults) == 0 {
		return nil
	}
	var all []Impact
	for _, f := range r.Faults {
		all = append(all, steady.impact(r, f))
	}
	return all
}

// steadyOf finds the steady state before the first fault, because a fault may leave the pipeline
// slow for good; else in the seconds that no fault, and no recovery, touches.
func steadyOf(r *reports.Run) (state, bool) {
	var before, outside, offered []float64
	for _, s := range r.Series {
		if s.Offered == 0 || s.P95 == 0 {
			continue
		}
		offered = append(offered, float64(s.Offered))
		from, to := float64(s.Second), float64(s.Second+1)
		if !slices.ContainsFunc(r.Faults, func(f reports.FaultWindow) bool {
			return to > f.StartSeconds
		}) {
			before = append(before, s.P95)
		}
		if !slices.ContainsFunc(r.Faults, func(f reports.FaultWindow) bool {
			return to > f.StartSeconds && from < f.EndSeconds+max(0, f.RecoveredSeconds)
		}) {
			outside = append(outside, s.P95)
		}
	}
	p95 := before
	if len(before) < leastSteady {
		p95 = outside
	}
	if len(p95) < leastSteady {
		return state{}, false
	}
	return state{reports.Middle(p95), int64(reports.Middle(offered))}, true
}

// sign returns what of a second is not steady, "" for nothing.
func (s state) sign(second reports.Second) string {
	least := minShare * float64(second.Offered)
	switch {
	case float64(second.Committed) < least:
		return byCommits
	case float64(second.Visible) < least:
		return byVisible
	case second.P95 > maxTimes*s.p95 && second.P95 > s.p95+leastMs:
		return byLatency
	case second.Outstanding > behindFor*s.offered:
		return byWaiting
	}
	return ""
}

// next is the begin of the next fault that begins after the end of f, infinite without such a
// fault. A fault that overlaps f cannot be told from f.
func next(r *reports.Run, f reports.FaultWindow) float64 {
	begin := math.Inf(1)
	for _, other := range r.Faults {
		if other.StartSeconds > f.EndSeconds {
			begin = min(begin, other.StartSeconds)
		}
	}
	return begin
}

// endsAlone is true if no other fault is at work at the end of f.
func endsAlone(r *reports.Run, f reports.FaultWindow) bool {
	return !slices.ContainsFunc(r.Faults, func(other reports.FaultWindow) bool {
		return other.StartSeconds <= f.EndSeconds && other.EndSeconds > f.EndSeconds
	})
}

func (s state) impact(r *reports.Run, f reports.FaultWindow) Impact {
	i := Impact{Fault: f.Name, Target: f.Target, Applied: f.Applied,
		DetectSeconds: -1, SteadySeconds: -1, BackSeconds: -1}
	inRow, begin := 0, 0.0
	follows, alone := next(r, f), endsAlone(r, f)
	until := math.Floor(follows) // from there on, a second may show the next fault
	for _, second := range r.Series {
		at := float64(second.Second)
		if at+1 <= f.StartSeconds {
			continue
		}
		sign := s.sign(second)
		if at < until {
			i.WorstP95 = max(i.WorstP95, second.P95)
			i.WorstP99 = max(i.WorstP99, second.P99)
			i.MaxLag = max(i.MaxLag, second.Outstanding)
		}
		if sign != "" && i.DetectSeconds < 0 && at < until {
			i.DetectSeconds, i.By = at+1-f.StartSeconds, sign
		}
		if sign == "" && at+1 > f.EndSeconds && at < until && alone && i.BackSeconds < 0 {
			i.BackSeconds = max(0, at-f.EndSeconds)
		}
		if sign != "" || at < f.EndSeconds {
			inRow = 0
			continue
		}
		if inRow == 0 {
			begin = at
		}
		if inRow++; inRow == SteadyFor {
			i.SteadySeconds = max(0, begin-f.EndSeconds)
			break
		}
	}
	if i.DetectSeconds < 0 && i.SteadySeconds >= 0 {
		i.SteadySeconds = 0 // nothing ever showed
	}
	if f.EndSeconds > 0 && alone && i.BackSeconds < 0 && !math.IsInf(follows, 1) {
		i.OpenSeconds = follows - f.EndSeconds
	}
	i.Degradation = i.WorstP95 / s.p95
	return i
}
