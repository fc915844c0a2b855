package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports/limit"
	"github.com/cdclab/cdclab/reports/unit"
)

// Bounds beyond which a Run cannot be trusted.
const (
	// maxStealPercent of the processor's time may have gone to other machines.
	maxStealPercent = 10.0
	// maxBusyPercent of all cores may be in use: beyond this bound every part waits for a
	// processor, and so do the parts that measure.
	maxBusyPercent = 97.0
	// The generator is saturated when its own lateness at p99 is more than a tenth of the e2e p99,
	// because e2e includes the lateness; below 5 ms lateness is the noise of any scheduler, and
	// above 50 ms too much however slow the pipeline is, for example during a fault. Schedule delay
	// is no sign of saturation: a stalled database makes writes wait as well.
	maxLateShare = 0.10
	minLateMs    = 5.0
	MaxLateMs    = 50.0
	// maxLookMs is the longest sound time between two looks of a polling tracker: the tracker never
	// holds a look back for a quarter of maxLookMs.
	maxLookMs = 1000.0
	// A sampled Run may miss a tenth of the configured share, because sampling is random.
	maxSampleLoss = 0.10
	// maxStopMs is how long the lab may stand still: a stop below the smallest latency limit cannot
	// cross any limit alone.
	maxStopMs = limit.P50Ms
	// maxClockStepMs is how far the machine's clock may jump.
	maxClockStepMs = 1000.0
	// minTogether is the share of a merged Run's time in which all its segments must have run.
	minTogether = 0.9
)

// Status is the outcome in a Verdict: Pass, Fail or Unknown.
type Status string

// The three statuses. Fail: the pipeline did something wrong. Unknown: the Run cannot tell.
const (
	Pass    Status = "pass"
	Fail    Status = "fail"
	Unknown Status = "unknown"
)

// Verdict is a status and why; each reason is a sentence naming the number. Pass needs none.
type Verdict struct {
	Status  Status   `json:"status"`
	Reasons []string `json:"reasons"`
	// RestsOn is the evidence behind the status, a sentence each.
	RestsOn []string `json:"restsOn,omitempty"`
}

// Merge is the worse of both with the reasons and the evidence of both, a Fail's reasons first. A
// definite failure stays a failure whatever else is unknown, and unknown beats pass.
func (v Verdict) Merge(other Verdict) Verdict {
	if severity(other.Status) > severity(v.Status) {
		v, other = other, v
	}
	reasons := make([]string, 0, len(v.Reasons)+len(other.Reasons))
	return Verdict{v.Status, append(append(reasons, v.Reasons...), other.Reasons...),
		withMissing(slices.Clone(v.RestsOn), other.RestsOn)}
}

func severity(s Status) int {
	switch s {
	case Pass:
		return 0
	case Unknown:
		return 1
	}
	return 2
}

func fail(format string, args ...any) Verdict {
	return Verdict{Status: Fail, Reasons: []string{fmt.Sprintf(format, args...)}}
}

func unknown(format string, args ...any) Verdict {
	return Verdict{Status: Unknown, Reasons: []string{fmt.Sprintf(format, args...)}}
}

// Conclude fills Summary.Latency, Thresholds and Verdict from the rest of the Run.
func (r *Run) Conclude() {
	if row, ok := r.StageOf(E2E, "", ""); ok {
		r.Summary.Latency = row.Latency
	}
	r.Lag, r.Growths = r.lag(), r.growths()
	_, warnings := r.resourceLimits()
	warnings = append(append(warnings, r.clockWarnings()...), r.trackerWarnings()...)
	r.Warnings = withMissing(r.Warnings, warnings)
	r.Thresholds = CheckThresholds(r)
	r.Verdict = Judge(r)
}

// concludeAgain is Conclude for a stored Run, whose Verdict stays where it is the worse: a stored
// pass is no evidence.
func (r *Run) concludeAgain() {
	stored := r.Verdict
	stored.RestsOn = nil
	r.Conclude()
	r.Verdict = stored.Merge(r.Verdict)
	r.Verdict.Reasons = withMissing([]string{}, r.Verdict.Reasons)
}

// Judge decides about a Run. Fail needs one row that is lost, stale, phantom, resurrected, corrupt
// or under the wrong parent, an unreadable record without a dead letter, a document seen to go
// back, or a crossed threshold. Unknown is a Run beyond trust: cut short, not drained, not checked,
// or not measured well; where the doubt may have crossed a threshold, the threshold decides nothing
// either. Fail beats unknown, and unknown beats pass.
func Judge(r *Run) Verdict {
	verdict := Verdict{Status: Pass, Reasons: []string{}}
	verdict = verdict.Merge(r.Consistency.verdict()).Merge(r.lettersVerdict()).Merge(
		r.Tracker.verdict())
	spoilt := slices.Concat(r.spoilt(), r.hostDoubts())
	var blind []Verdict
	for _, v := range CheckThresholds(r).Violations {
		crossed := fail
		if len(spoilt) > 0 {
			crossed = unknown
		} else if lost := r.lostSight(); lost != "" && !r.breaksMongo() && seenByTracker(v.Name) {
			crossed, blind = unknown, []Verdict{unknown("%s.", lost)}
		}
		verdict = verdict.Merge(crossed("%s is %s, the limit is %s.",
			capital(v.Name), unit.Number(v.Value), v.Limit))
	}
	for _, doubt := range slices.Concat(r.incomplete(), spoilt, blind, r.faultDoubts()) {
		verdict = verdict.Merge(doubt)
	}
	verdict.RestsOn = r.evidence()
	return verdict
}

// judgedAnew is the worse of the stored verdict and a new one.
func (r *Run) judgedAnew() Verdict { return r.Verdict.Merge(Judge(r)) }

// evidence returns what a verdict about the Run rests on.
func (r *Run) evidence() []string {
	s, c := &r.Summary, &r.Consistency
	row, _ := r.StageOf(E2E, "", "")
	all := []string{fmt.Sprintf("%s followed from the intended time until seen, of %s in %s s.",
		unit.Plural(row.Count, "write was", "writes were"),
		unit.Plural(s.TotalOperations, "operation", "operations"),
		unit.Number(r.TestRun.DurationSeconds))}
	if c.Checked {
		when := "after the pipeline had drained"
		if c.Undrained != "" {
			when = "before the pipeline had drained"
		}
		all = append(all, fmt.Sprintf("%s compared with %s %s.",
			unit.Plural(c.Rows, "row was", "rows were"),
			unit.Plural(c.Documents, "document", "documents"), when))
	}
	if n := r.Letters.Unreadable - r.Letters.Missing; n > 0 {
		all = append(all, unit.Plural(n, "unreadable record has a dead letter.",
			"unreadable records have dead letters."))
	}
	var kept []string
	for _, l := range r.Limits() {
		if l.OK {
			kept = append(kept, l.Name)
		}
	}
	if len(kept) > 0 {
		all = append(all, fmt.Sprintf("%s kept: %s.",
			unit.Plural(int64(len(kept)), "limit was", "limits were"), strings.Join(kept, ", ")))
	}
	return all
}

// incomplete returns the doubts about missing parts of the Run. A missing part cannot have made the
// pipeline look worse.
func (r *Run) incomplete() (doubts []Verdict) {
	if len(r.LeftOut) > 0 {
		doubts = append(doubts, r.leftOutDoubt())
	}
	if open := r.Breakpoint.Inconclusive(); open != "" {
		doubts = append(doubts, unknown("The breakpoint was not found in %s: %s.",
			unit.Plural(int64(len(r.Breakpoint.Probes)), "probe", "probes"), open))
	}
	for _, difference := range r.Load.Differences {
		doubts = append(doubts, unknown("%s", difference))
	}
	if r.Summary.DroppedIterations < 0 {
		doubts = append(doubts, unknown("It is not known whether the generator dropped "+
			"iterations: k6 left no summary."))
	}
	if r.Ledger.Truncated {
		doubts = append(doubts, unknown("The ledger has no end after %s: the generator did not "+
			"finish.", unit.Plural(r.Ledger.Writes, "write", "writes")))
	}
	if !r.Measured() {
		doubts = append(doubts, unknown("Of %s, 0 were measured from end to end.",
			unit.Plural(r.Summary.TotalOperations, "operation", "operations")))
	}
	for _, missing := range r.unmeasured() {
		doubts = append(doubts, unknown("%s: the limit rests on nothing.", missing))
	}
	if unseen := r.Summary.Timeouts - r.Summary.Late; unseen > 0 {
		doubts = append(doubts, unknown("The tracker never saw %s: the percentiles leave out the "+
			"slowest.", unit.Plural(unseen, "acknowledged write", "acknowledged writes")))
	}
	t := &r.Tracker
	least := t.AskedShare
	if least < 1 {
		least *= 1 - maxSampleLoss
	}
	if t.TrackedShare < least {
		doubts = append(doubts, unknown("The tracker watched %s %% of the writes, it was set to "+
			"%s %%.", unit.Number(100*t.TrackedShare), unit.Number(100*t.AskedShare)))
	}
	if n := r.Clock.ClampedSpans; n > 0 {
		doubts = append(doubts, unknown("%s longer than the ten minutes that are recorded.",
			unit.Plural(n, "measured span was", "measured spans were")))
	}
	return doubts
}

// unmeasured names the limits that apply to the Run and have no sample.
func (r *Run) unmeasured() (missing []string) {
	if !r.Measured() {
		return nil // said already
	}
	if r.TestRun.DurationSeconds <= 0 || r.Summary.Throughput.Offered <= 0 {
		missing = append(missing, fmt.Sprintf("%s in %s s, %s/s offered, make no rate",
			unit.Plural(r.Summary.TotalOperations, "operation", "operations"),
			unit.Number(r.TestRun.DurationSeconds), unit.Number(r.Summary.Throughput.Offered)))
	}
	if _, steady := r.StageOf(E2ESteady, "", ""); len(r.Faults) > 0 && !steady {
		missing = append(missing, "No write was measured outside the faults")
	}
	if len(r.Faults) == 0 && !r.Lag.Known {
		missing = append(missing, "The consumer's lag was not seen during the load")
	}
	for _, name := range r.Thresholds.Unmeasured {
		missing = append(missing, fmt.Sprintf("The threshold %s has no sample but 0", name))
	}
	return missing
}

func (r *Run) leftOutDoubt() Verdict {
	return unknown("%s could not be true: %s.", unit.Plural(int64(len(r.LeftOut)),
		"member of the run", "members of the run"),
		strings.Join(r.LeftOut[:min(3, len(r.LeftOut))], "; "))
}

// spoilt returns the doubts about an early end, the lab, the generator, the tracker and the clocks:
// each may have made the pipeline look worse than the truth.
func (r *Run) spoilt() (doubts []Verdict) {
	if r.TestRun.Partial {
		doubts = append(doubts, unknown("The run was ended before its time, after %s s%s.",
			unit.Number(r.TestRun.DurationSeconds), because(r.TestRun.EndedBy)))
	}
	if stop := r.Lab.LongestStopMs; stop > maxStopMs {
		doubts = append(doubts, unknown("The lab itself stood still for %s ms at second %s, and "+
			"with it the parts in its process: at most %s ms is sound.", unit.Number(stop),
			unit.Number(r.Lab.StoppedAtSecond), unit.Number(maxStopMs)))
	}
	if step := r.Lab.ClockStepMs; math.Abs(step) > maxClockStepMs {
		doubts = append(doubts, unknown("The machine's clock jumped by %s ms during the run: the "+
			"machine was suspended, or its clock was set.", unit.Number(step)))
	}
	if share := r.together(); share < minTogether {
		doubts = append(doubts, unknown("The segments ran at the same time for %s %% of the run, "+
			"at least %s %% is sound: less load was offered than planned.",
			unit.Number(100*share), unit.Number(100*minTogether)))
	}
	if n := r.Summary.DroppedIterations; n > 0 {
		doubts = append(doubts, unknown("The generator dropped %s: less load was offered than "+
			"planned.", unit.Plural(n, "iteration", "iterations")))
	}
	if slowest := r.Tracker.SlowestLookMs; slowest > maxLookMs {
		doubts = append(doubts, unknown("The tracker was starved: it did not look for %s ms, at "+
			"most %s ms is sound.",
			unit.Number(slowest), unit.Number(maxLookMs)))
	}
	if late, most := r.Generator.LateTicksP99Ms, r.maxLateTicksMs(); r.Measured() && late > most {
		doubts = append(doubts, unknown("The generator was saturated: its own ticks were %s ms "+
			"late at p99, at most %s ms is sound beside an e2e p99 of %s ms.",
			unit.Number(late), unit.Number(most), unit.Number(r.Summary.Latency.P99)))
	}
	for _, f := range r.Faults {
		if f.SeenInside > 0 && f.Applied {
			doubts = append(doubts, unknown("The tracker cannot be trusted: %s committed and seen "+
				"while %s of %s let nothing through.", unit.Plural(f.SeenInside, "write was",
				"writes were"), f.Name, f.Target))
		}
	}
	if n := r.Clock.NegativeSpans; n > 0 {
		doubts = append(doubts, unknown("The clocks cannot be trusted: %s ended before the "+
			"beginning.", unit.Plural(n, "measured span", "measured spans")))
	}
	return doubts
}

func (r *Run) maxLateTicksMs() float64 {
	return min(MaxLateMs, max(minLateMs, maxLateShare*r.Summary.Latency.P99))
}

func (r *Run) hostDoubts() (doubts []Verdict) {
	if steal := r.Host.CPUStealPercent; steal > maxStealPercent {
		doubts = append(doubts, unknown("Other machines took %s %% of the processor, at most "+
			"%s %% is sound.", unit.Number(steal), unit.Number(maxStealPercent)))
	}
	// At the breakpoint of a pipeline on the same machine as its generator, the processors are the
	// part that broke.
	if busy := r.Host.CPUBusyPercent; busy > maxBusyPercent && r.Breakpoint.Rate == 0 {
		doubts = append(doubts, unknown("The machine was too busy to measure on: %s %% of its "+
			"processors' time was used, at most %s %% is sound.", unit.Number(busy),
			unit.Number(maxBusyPercent)))
	}
	return doubts
}

// clockWarnings name the clocks off by more than a typical write takes: the stages stamped by such
// a clock say nothing then. End to end does not depend on these clocks.
func (r *Run) clockWarnings() (warnings []string) {
	for _, o := range r.Clock.Offsets {
		if off := math.Abs(o.OffsetMs) - o.UncertaintyMs; r.Measured() &&
			off > max(1, r.Summary.Latency.P50) {
			warnings = append(warnings, fmt.Sprintf("The clock of %s is %s ms off the lab's, "+
				"more than a typical write takes: the stages below pipeline say nothing",
				o.Component, unit.Number(o.OffsetMs)))
		}
	}
	return warnings
}

// lostSight says how often the tracker lost sight of MongoDB, "" for never.
func (r *Run) lostSight() string {
	if r.Tracker.Errors == 0 {
		return ""
	}
	return fmt.Sprintf("The tracker lost sight of MongoDB %s: what was written meanwhile was "+
		"seen too late", unit.Plural(r.Tracker.Errors, "time", "times"))
}

// seenByTracker returns true if the limit is about times that the tracker took: of the lab's own
// limits the e2e latencies, and every threshold of a script.
func seenByTracker(limit string) bool {
	return strings.HasPrefix(limit, "e2e ") || strings.HasPrefix(limit, "k6 ")
}

// trackerWarnings say how the tracker disturbed its own measurement.
func (r *Run) trackerWarnings() (warnings []string) {
	t := &r.Tracker
	if lost := r.lostSight(); lost != "" {
		warnings = append(warnings, lost)
	}
	if t.BudgetAsked > 0 && t.BudgetKept > t.BudgetAsked {
		warnings = append(warnings, fmt.Sprintf("The tracker's commands were %s %% of all that "+
			"MongoDB did, over their budget of %s %%: they may have slowed down what they measure",
			unit.Number(100*t.BudgetKept), unit.Number(100*t.BudgetAsked)))
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
