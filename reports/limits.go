package reports

import (
	"cmp"
	"fmt"
	"slices"
)

// The limits of section 2.7.7 of the specification. Latencies are in milliseconds.
const (
	maxP50Ms           = 500.0
	maxP95Ms           = 2000.0
	maxP99Ms           = 5000.0
	maxErrorRate       = 0.001
	maxRecoverySeconds = 60.0
	// minAchieved is the least share of the offered rate that PostgreSQL must have acknowledged;
	// one per cent is for the seconds cut off at both ends.
	minAchieved = 0.99
)

// limit is one limit with what was measured.
type limit struct {
	Name, Limit string
	Value       float64
	Unit        string
	OK          bool
}

// limits are those that apply to the Run. The limits on latency, errors and rate are for normal
// load: with faults, latency is that of the writes outside them, errors and rate are not judged,
// and the recovery is. The achieved rate is not judged when the generator itself offered less.
func (r *Run) limits() []limit {
	var all []limit
	below := func(name string, value, most float64, unit string) {
		all = append(all, limit{name, fmt.Sprintf("< %g%s", most, unit), value, unit, value < most})
	}
	if r.Summary.TotalOperations == 0 {
		return nil
	}
	steady, name := r.Summary.Latency, "e2e"
	measured := r.measured()
	if len(r.Faults) > 0 {
		row, ok := r.StageOf(E2ESteady, "", "")
		steady, name, measured = row.Latency, "e2e outside faults", ok
	}
	if measured {
		below(name+" p50", steady.P50, maxP50Ms, " ms")
		below(name+" p95", steady.P95, maxP95Ms, " ms")
		below(name+" p99", steady.P99, maxP99Ms, " ms")
	}
	for _, f := range r.Faults {
		if f.RecoveredSeconds >= 0 {
			below("recovery from "+f.Name, f.RecoveredSeconds,
				cmp.Or(f.RecoveryLimitSeconds, maxRecoverySeconds), " s")
		}
	}
	resources, _ := r.resourceLimits()
	all = append(append(all, resources...), r.trendLimits()...)
	if len(r.Faults) > 0 {
		return all
	}
	if l := r.Lag; l.Known {
		recovery := l.RecoverySeconds
		if recovery < 0 { // it had not recovered when the last look was taken
			recovery = max(maxRecoverySeconds, r.Looks.Seconds[len(r.Looks.Seconds)-1]-l.MaxSecond)
		}
		below("consumer lag recovery", recovery, maxRecoverySeconds, " s")
	}
	below("error rate", 100*r.Summary.Errors.Rate, 100*maxErrorRate, " %")
	t := r.Summary.Throughput
	if t.Offered > 0 && r.Summary.DroppedIterations <= 0 && !r.TestRun.Partial {
		achieved := t.Mean / t.Offered
		all = append(all, limit{"achieved rate", fmt.Sprintf(">= %g %% of offered", 100*minAchieved),
			100 * achieved, " %", achieved >= minAchieved})
	}
	return all
}

// measured: at least one write was followed from its intended time until it was seen.
func (r *Run) measured() bool {
	_, ok := r.StageOf(E2E, "", "")
	return ok && r.Summary.TotalOperations > 0
}

// CheckThresholds returns the violations that the Run already holds, those of k6 for example, and
// after them the crossed limits of the specification: latency, error rate, achieved rate, recovery.
func CheckThresholds(r *Run) Thresholds {
	all := []Violation{}
	ours := r.limits()
	for _, v := range r.Thresholds.Violations {
		if !slices.ContainsFunc(ours, func(l limit) bool { return l.Name == v.Name }) {
			all = append(all, v)
		}
	}
	for _, l := range ours {
		if !l.OK {
			all = append(all, Violation{Name: l.Name, Limit: l.Limit, Value: l.Value})
		}
	}
	return Thresholds{Passed: len(all) == 0, Violations: all}
}
