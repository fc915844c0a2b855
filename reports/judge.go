package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Bounds beyond which a Run cannot be trusted.
const (
	// maxStealPercent of the processor's time may have gone to other machines.
	maxStealPercent = 10.0
	// maxBusyPercent of all cores may be in use: beyond it every part waits for a processor, and so
	// does what measures.
	maxBusyPercent = 97.0
	// The generator is saturated when its own lateness at p99 is more than a tenth of the e2e p99,
	// because it is a part of that number; below 5 ms it is the noise of any scheduler, and above
	// 50 ms it is too much however slow the pipeline is, for example during a fault. Schedule delay
	// is no sign of it: a stalled database makes writes wait as well.
	maxLateShare = 0.10
	minLateMs    = 5.0
	maxLateMs    = 50.0
	// maxLookMs is the longest time that a polling tracker may not have looked: it never holds a look
	// back for a quarter of that.
	maxLookMs = 1000.0
	// A sampled Run may miss a tenth of what sampling was set to, because sampling is random.
	maxSampleLoss = 0.10
)

// Conclude fills Summary.Latency, Thresholds and Verdict from the rest of the Run.
func (r *Run) Conclude() {
	if row, ok := r.StageOf(E2E, "", ""); ok {
		r.Summary.Latency = row.Latency
	}
	r.Lag, r.Trends = r.lag(), r.trends()
	_, warnings := r.resourceLimits()
	warnings = append(append(warnings, r.clockWarnings()...), r.trackerWarnings()...)
	r.Warnings = withMissing(r.Warnings, warnings)
	r.Thresholds = CheckThresholds(r)
	r.Verdict = Judge(r)
}

// Judge decides about a Run. Fail needs one row that is lost, stale, phantom, resurrected, corrupt or
// under the wrong parent, or one crossed threshold. Unknown is a Run that cannot be trusted: it
// was cut short, not checked, or not measured well; where that may have crossed a threshold, the
// threshold decides nothing either. Fail beats unknown, and unknown beats pass.
func Judge(r *Run) Verdict {
	verdict := Verdict{Status: Pass, Reasons: []string{}}
	verdict = verdict.Merge(r.Consistency.verdict())
	spoilt := slices.Concat(r.spoilt(), r.hostDoubts())
	crossed := fail
	if len(spoilt) > 0 {
		crossed = unknown
	}
	for _, v := range CheckThresholds(r).Violations {
		verdict = verdict.Merge(crossed("%s is %s, the limit is %s.",
			capital(v.Name), number(v.Value), v.Limit))
	}
	for _, doubt := range slices.Concat(r.incomplete(), spoilt, r.faultDoubts()) {
		verdict = verdict.Merge(doubt)
	}
	return verdict
}

// incomplete are the doubts that something of the Run is missing. What is missing cannot have made the
// pipeline look worse.
func (r *Run) incomplete() (doubts []Verdict) {
	if open := r.Breakpoint.open(); open != "" {
		doubts = append(doubts, unknown("The breakpoint was not found in %s: %s.",
			plural(int64(len(r.Breakpoint.Probes)), "probe", "probes"), open))
	}
	if r.Summary.DroppedIterations < 0 {
		doubts = append(doubts, unknown("It is not known whether the generator dropped iterations: k6 left no summary."))
	}
	if r.Ledger.Truncated {
		doubts = append(doubts, unknown("The ledger has no end after %s: the generator did not finish.",
			plural(r.Ledger.Writes, "write", "writes")))
	}
	if !r.measured() {
		doubts = append(doubts, unknown("Of %s, 0 were measured from end to end.",
			plural(r.Summary.TotalOperations, "operation", "operations")))
	}
	if unseen := r.Summary.Timeouts - r.Summary.Late; unseen > 0 {
		doubts = append(doubts, unknown("The tracker never saw %s: the percentiles leave out the "+
			"slowest.", plural(unseen, "acknowledged write", "acknowledged writes")))
	}
	t := &r.Tracker
	least := t.AskedShare
	if least < 1 {
		least *= 1 - maxSampleLoss
	}
	if t.TrackedShare < least {
		doubts = append(doubts, unknown("The tracker watched %s %% of the writes, it was set to %s %%.",
			number(100*t.TrackedShare), number(100*t.AskedShare)))
	}
	if n := r.Clock.ClampedSpans; n > 0 {
		doubts = append(doubts, unknown("%s longer than the ten minutes that are recorded.",
			capital(plural(n, "measured span was", "measured spans were"))))
	}
	return doubts
}

// spoilt are the doubts about an early end, the generator, the tracker and the clocks: each may have made
// the pipeline look worse than it is.
func (r *Run) spoilt() (doubts []Verdict) {
	if r.TestRun.Partial {
		doubts = append(doubts, unknown("The run was ended before its time, after %s s.",
			number(r.TestRun.DurationSeconds)))
	}
	if n := r.Summary.DroppedIterations; n > 0 {
		doubts = append(doubts, unknown("The generator dropped %s: less load was offered than planned.",
			plural(n, "iteration", "iterations")))
	}
	if slowest := r.Tracker.SlowestLookMs; slowest > maxLookMs {
		doubts = append(doubts, unknown("The tracker was starved: it did not look for %s ms, at most %s ms is sound.",
			number(slowest), number(maxLookMs)))
	}
	if late, most := r.Generator.LateTicksP99Ms, r.maxLateTicksMs(); r.measured() && late > most {
		doubts = append(doubts, unknown("The generator was saturated: its own ticks were %s ms late "+
			"at p99, at most %s ms is sound beside an e2e p99 of %s ms.",
			number(late), number(most), number(r.Summary.Latency.P99)))
	}
	if n := r.Clock.NegativeSpans; n > 0 {
		doubts = append(doubts, unknown("The clocks cannot be trusted: %s ended before the beginning.",
			plural(n, "measured span", "measured spans")))
	}
	return doubts
}

func (r *Run) maxLateTicksMs() float64 {
	return min(maxLateMs, max(minLateMs, maxLateShare*r.Summary.Latency.P99))
}

func (r *Run) faultDoubts() (doubts []Verdict) {
	for _, f := range r.Faults {
		switch {
		case !f.Applied:
			doubts = append(doubts, unknown("The fault %s was not applied to %s at second %s%s.",
				f.Name, f.Target, number(f.StartSeconds), because(f.Detail)))
			continue
		case f.Proxy != "" && f.ProxyBytes == 0:
			doubts = append(doubts, unknown("The fault %s met nobody: 0 bytes went through the "+
				"proxy %s.", f.Name, f.Proxy))
		}
		if f.RecoveredSeconds < 0 {
			doubts = append(doubts, unknown("It is not known when the pipeline recovered from %s, "+
				"which was removed at second %s.", f.Name, number(f.EndSeconds)))
		}
	}
	return doubts
}

func (r *Run) hostDoubts() (doubts []Verdict) {
	if steal := r.Host.CPUStealPercent; steal > maxStealPercent {
		doubts = append(doubts, unknown("Other machines took %s %% of the processor, at most %s %% is "+
			"sound.", number(steal), number(maxStealPercent)))
	}
	// At the breakpoint of a pipeline that lives on one machine with its generator, that is what broke.
	if busy := r.Host.CPUBusyPercent; busy > maxBusyPercent && r.Breakpoint.Rate == 0 {
		doubts = append(doubts, unknown("The machine was too busy to measure on: %s %% of its processors' time was "+
			"used, at most %s %% is sound.", number(busy), number(maxBusyPercent)))
	}
	return doubts
}

// clockWarnings are the clocks that are off by more than a typical write takes: the stages that they stamp
// say nothing then. End to end does not depend on them.
func (r *Run) clockWarnings() (warnings []string) {
	for _, o := range r.Clock.Offsets {
		if off := math.Abs(o.OffsetMs) - o.UncertaintyMs; r.measured() && off > max(1, r.Summary.Latency.P50) {
			warnings = append(warnings, fmt.Sprintf("The clock of %s is %s ms off the lab's, more than a typical write "+
				"takes: the stages below pipeline say nothing", o.Component, number(o.OffsetMs)))
		}
	}
	return warnings
}

func because(detail string) string {
	if detail == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(detail, ".")
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// number prints a value with about three significant digits and no exponent.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0:
		return "-" + number(-v)
	case v < 0.001:
		return "<0.001"
	case v < 1:
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
	case v < 100:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	return fmt.Sprintf("%.0f", v)
}
