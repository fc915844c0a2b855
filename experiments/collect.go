package experiments

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

// maxExamples bounds how many rows that are not ok a report shows.
const maxExamples = 20

// unmeasured are the k6 scenarios whose writes are checked row by row like all others, and are in
// no latency.
var unmeasured = []string{"warmup", "seed", Selftest}

// tally folds the measured writes of a ledger into the numbers of a Run.
type tally struct {
	run      *reports.Run
	recorder *reports.Recorder
	// firstNs and lastNs are the first and the last intended time, lastCommitNs the last commit.
	firstNs, lastNs, lastCommitNs int64
	acked, tracked                int64
	lateTicks                     *hdrhistogram.Histogram
	faults                        []faultLatency
}

// faultLatency holds the e2e latencies of the writes intended inside and outside one fault.
type faultLatency struct {
	window          *reports.FaultWindow
	inside, outside []time.Duration
}

// readLedger fills in everything that comes from the ledger and from k6's own summary. It reads the
// file twice: offsets count from the first intended write, and lines stand in the order of fates.
func (s *session) readLedger() error {
	t := &tally{
		run: s.run, recorder: reports.NewRecorder(), firstNs: math.MaxInt64,
		lateTicks: hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3),
	}
	for i := range s.run.Faults {
		t.faults = append(t.faults, faultLatency{window: &s.run.Faults[i]})
	}
	path := s.k6.ledgerPath()
	header, end, err := ledger.Read(path, t.span)
	s.run.Ledger = reports.Ledger{Path: "ledger.jsonl", Writes: end.Writes, Truncated: errors.Is(err, ledger.ErrTruncated)}
	if err != nil && !s.run.Ledger.Truncated {
		return fmt.Errorf("read the ledger: %w", err)
	}
	if _, _, err := ledger.Read(path, t.add); err != nil && !s.run.Ledger.Truncated {
		return fmt.Errorf("read the ledger: %w", err)
	}
	s.readSummary()
	t.conclude(header, end)
	return nil
}

// readSummary takes from k6 what only k6 knows: iterations that it dropped, and thresholds that were crossed.
func (s *session) readSummary() {
	summary, err := readSummary(s.k6.summaryPath())
	if err != nil {
		s.run.Summary.DroppedIterations = -1
		s.warn(err.Error())
	} else {
		s.run.Summary.DroppedIterations = summary.droppedIterations()
		s.run.Thresholds.Violations = summary.violations()
	}
	if s.crossed && len(s.run.Thresholds.Violations) == 0 {
		s.run.Thresholds.Violations = []reports.Violation{{Name: "k6 thresholds", Limit: "exit code 0", Value: k6ThresholdsFailed}}
	}
}

// measured says whether a write counts in the latencies.
func measured(w *ledger.Write) bool { return !slices.Contains(unmeasured, w.Scenario) }

func (t *tally) span(w ledger.Write) error {
	if measured(&w) {
		t.firstNs, t.lastNs = min(t.firstNs, w.IntendedNs), max(t.lastNs, w.IntendedNs)
		t.lastCommitNs = max(t.lastCommitNs, w.CommittedNs)
	}
	return nil
}

func (t *tally) second(ns int64) int { return int((ns - t.firstNs) / int64(time.Second)) }

func (t *tally) add(w ledger.Write) error {
	if !measured(&w) {
		return nil
	}
	summary, second := &t.run.Summary, t.second(w.IntendedNs)
	summary.TotalOperations++
	t.recorder.Offered(second)
	late := max(0, w.EnqueuedNs-w.IntendedNs) / int64(time.Microsecond)
	if err := t.lateTicks.RecordValue(late); err != nil {
		return fmt.Errorf("write %d: called %d us after its time: %w", w.ID, late, err)
	}
	switch w.Fate {
	case ledger.Failed:
		summary.Errors.Total++
		return nil
	case ledger.Indeterminate:
		summary.Indeterminate++
		return nil
	}
	t.acked++
	t.stage(&w, reports.ScheduleDelay, w.SentNs-w.IntendedNs)
	t.stage(&w, reports.Commit, w.CommittedNs-w.SentNs)
	if w.Untracked {
		return nil
	}
	t.tracked++
	t.recorder.Committed(t.second(w.CommittedNs))
	if w.TimedOut || w.VisibleNs == 0 {
		summary.Timeouts++
	}
	if w.VisibleNs == 0 {
		return nil
	}
	if w.TimedOut {
		summary.Late++
	}
	t.recorder.Visible(t.second(max(w.VisibleNs, w.CommittedNs)))
	// The change event may overtake the acknowledgement of the commit; that is no time at all.
	t.stage(&w, reports.Pipeline, max(0, w.VisibleNs-w.CommittedNs))
	t.stage(&w, reports.E2E, w.VisibleNs-w.IntendedNs)
	t.underFaults(&w)
	return nil
}

func (t *tally) stage(w *ledger.Write, stage string, ns int64) {
	t.recorder.Add(stage, w.Entity, string(w.Op), t.second(w.IntendedNs), time.Duration(ns))
}

// underFaults files the e2e latency of a write under each fault's inside or outside, and under
// e2eSteady when no fault and no recovery was going on.
func (t *tally) underFaults(w *ledger.Write) {
	if len(t.faults) == 0 {
		return
	}
	at, e2e, steady := float64(w.IntendedNs-t.firstNs)/1e9, w.VisibleNs-w.IntendedNs, true
	for i := range t.faults {
		f := &t.faults[i]
		recovered := f.window.EndSeconds + max(0, f.window.RecoveredSeconds)
		switch {
		case at >= f.window.StartSeconds && at < f.window.EndSeconds:
			f.inside = append(f.inside, time.Duration(e2e))
			steady = false
		case at < f.window.StartSeconds || at > recovered:
			f.outside = append(f.outside, time.Duration(e2e))
		default:
			steady = false
		}
	}
	if steady {
		t.stage(w, reports.E2ESteady, e2e)
	}
}

func (t *tally) conclude(header ledger.Header, end ledger.End) {
	run := t.run
	run.Stages = append(t.recorder.Stages(), run.Stages...)
	run.Series = t.recorder.Seconds()
	clock := t.recorder.Clock()
	run.Clock.NegativeSpans, run.Clock.ClampedSpans = clock.NegativeSpans, clock.ClampedSpans
	run.Tracker = reports.Tracker{Kind: header.Tracker, AskedShare: cmp.Or(end.SampleAsked, 1), Errors: end.TrackerErrors,
		MedianLookMs: float64(end.MedianLookNs) / 1e6, SlowestLookMs: float64(end.SlowestLookNs) / 1e6,
		Operations: end.TrackerOperations, ServerOperations: end.ServerOperations,
		BudgetAsked: end.BudgetAsked, BudgetKept: end.BudgetKept,
	}
	run.Generator = reports.Generator{
		LateTicksP99Ms: float64(t.lateTicks.ValueAtPercentile(99)) / 1e3,
		QueueMax:       end.QueueMax, Substituted: end.Substituted,
		GCPauseMaxMs: float64(end.GCPauseMaxNs) / 1e6, SchedulerDelayP99Ms: float64(end.SchedulerDelayP99Ns) / 1e6,
	}
	if t.acked > 0 {
		run.Tracker.TrackedShare = float64(t.tracked) / float64(t.acked)
	}
	for _, f := range t.faults {
		f.window.InsideP50, f.window.OutsideP50 = medianMs(f.inside), medianMs(f.outside)
	}
	t.throughput(header)
}

// throughput needs the length of the load: n writes on a schedule span n-1 of its gaps.
func (t *tally) throughput(header ledger.Header) {
	run, n := t.run, t.run.Summary.TotalOperations
	if n < 2 {
		return
	}
	run.Summary.Errors.Rate = float64(run.Summary.Errors.Total) / float64(n)
	gap := float64(t.lastNs-t.firstNs) / 1e9 / float64(n-1)
	seconds := gap * float64(n)
	run.TestRun.DurationSeconds = seconds
	run.TestRun.Duration = time.Duration(math.Round(seconds) * 1e9).String()
	run.TestRun.StartTime = time.Unix(0, header.StartUnixNs+t.firstNs).UTC()
	run.TestRun.EndTime = run.TestRun.StartTime.Add(time.Duration(seconds * 1e9))
	run.Summary.Throughput.Offered = float64(n+max(0, run.Summary.DroppedIterations)) / seconds
	run.Summary.Throughput.Mean = float64(t.acked) / max(seconds, float64(t.lastCommitNs-t.firstNs)/1e9)
	for _, second := range run.Series {
		run.Summary.Throughput.Max = max(run.Summary.Throughput.Max, float64(second.Committed))
	}
}

func medianMs(samples []time.Duration) float64 {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return float64(samples[(len(samples)-1)/2]) / float64(time.Millisecond)
}

// ReportConsistency turns the table check's result into the report's.
func ReportConsistency(c chaos.Consistency) reports.Consistency {
	result := reports.Consistency{
		Checked: true, Rows: int64(c.Rows), Documents: int64(c.Documents), Counts: map[string]int64{},
	}
	for status, n := range c.Counts {
		if status != chaos.SourceLoss {
			result.Counts[string(status)] = int64(n)
		}
	}
	// What PostgreSQL itself lost says nothing of the pipeline; what the pipeline did besides still
	// fails the run.
	if n := c.Counts[chaos.SourceLoss]; n > 0 {
		result.Error = fmt.Sprintf("PostgreSQL itself lost %d acknowledged writes", n)
		result.Checked = c.Bad() > n
	}
	for _, e := range c.Examples[:min(len(c.Examples), maxExamples)] {
		result.Examples = append(result.Examples, reports.Example{
			Status: string(e.Status), Entity: e.Entity, Key: e.Key, Detail: e.Detail,
		})
	}
	return result
}

func goVersion() string { return runtime.Version() }

// reportFault turns a window of the timeline into the report's.
func reportFault(w chaos.Window, plan *chaos.Plan) reports.FaultWindow {
	f := reports.FaultWindow{
		Name: w.Fault, Target: w.Target, Applied: w.Applied, ProxyBytes: w.ProxyBytes, Detail: w.Evidence,
		StartSeconds: w.Start.Seconds(), EndSeconds: max(w.Start, w.End).Seconds(), RecoveredSeconds: -1,
		RecoveryLimitSeconds: plan.SteadyState.Recovery.Seconds(),
	}
	if w.Recovered > 0 {
		f.RecoveredSeconds = max(0, (w.Recovered - w.End).Seconds())
	}
	if slices.Contains(plan.Proxies(), w.Target) {
		f.Proxy = w.Target
	}
	if w.Err != nil {
		f.Detail = w.Err.Error()
	}
	return f
}
