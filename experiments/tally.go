package experiments

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cdclab/cdclab/experiments/k6files"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/impact"
)

// tally folds the measured writes of a ledger into the numbers of a Run.
type tally struct {
	run      *reports.Run
	recorder *reports.Recorder
	// firstNs is the beginning of the load, lastNs the last intended time, lastCommitNs the last
	// commit.
	firstNs, lastNs, lastCommitNs int64
	// seconds is the length of the load.
	seconds float64
	// writes counts the writes of each scenario, substituted the measured writes that became
	// others.
	writes         map[string]int64
	substituted    int64
	acked, tracked int64
	lateTicks      *hdrhistogram.Histogram
	faults         []faultLatency
}

// faultLatency holds the e2e latencies of the writes intended inside and outside one fault.
type faultLatency struct {
	window          *reports.FaultWindow
	inside, outside []time.Duration
	// open is impact.Impact.OpenSeconds, and no more than the plan's limit on recoveries.
	open float64
}

// readLedger fills in the numbers from the ledger and from k6's own summary. The file is read
// twice: offsets count from the first intended write, and lines stand in the order of fates. With
// faults the file is read once more: the seconds tell when each recovery was over. An unreadable
// line is an error, and the lines before count.
func (l *load) readLedger() error {
	t := &tally{
		run: l.run, recorder: reports.NewRecorder(), firstNs: math.MaxInt64,
		writes:    map[string]int64{},
		lateTicks: hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3),
	}
	for i := range l.run.Faults {
		t.faults = append(t.faults, faultLatency{window: &l.run.Faults[i]})
	}
	path := l.k6.ledgerPath()
	header, end, err := ledger.Read(path, t.span)
	l.run.Ledger = reports.Ledger{
		Path: "ledger.jsonl", Writes: end.Writes, Truncated: errors.Is(err, ledger.ErrTruncated),
	}
	if errors.Is(err, fs.ErrNotExist) {
		l.readSummary()
		l.run.Load.Differences = []string{"There is no ledger: the script never called start() " +
			"of cdc.open(), or k6 ended before."}
		return nil
	}
	t.measureLength(end)
	_, _, addErr := ledger.Read(path, t.add)
	l.run.Series = t.recorder.Seconds()
	if len(t.faults) > 0 {
		for i, one := range impact.Of(l.run) {
			f := &l.run.Faults[i]
			// Every part may serve while the latency is not yet steady, and rows still wait.
			if f.RecoveredSeconds >= 0 {
				f.RecoveredSeconds = max(f.RecoveredSeconds, one.BackSeconds)
			}
			t.faults[i].open = min(one.OpenSeconds, f.RecoveryLimitSeconds)
		}
		_, _, _ = ledger.Read(path, t.underFaults) // addErr is of the same lines
	}
	t.compareLoad(header, end, l.readSummary())
	t.conclude(header, end)
	if err = cmp.Or(err, addErr); err != nil && !l.run.Ledger.Truncated {
		return fmt.Errorf("read the ledger: %w", err)
	}
	return nil
}

// readSummary takes the numbers known only to k6: dropped iterations, and crossed thresholds. It
// returns the number of finished iterations, of all scenarios, -1 where k6 left no summary.
func (l *load) readSummary() (iterations int64) {
	summary, err := k6files.ReadSummary(l.k6.summaryPath())
	if err != nil {
		iterations = -1
		l.run.Summary.DroppedIterations = -1
		l.warn(err.Error())
	} else {
		iterations = summary.Count("iterations")
		l.run.Summary.DroppedIterations = summary.Count("dropped_iterations")
		l.run.Thresholds.Violations = summary.Violations()
		l.run.Thresholds.Unmeasured = summary.Unmeasured()
	}
	if l.crossed && len(l.run.Thresholds.Violations) == 0 {
		l.run.Thresholds.Violations = []reports.Violation{
			{Name: "k6 thresholds", Limit: "exit code 0", Value: k6ThresholdsFailed},
		}
	}
	if l.failed {
		calls, reason := k6files.FailCalls(l.k6.logPath())
		l.run.Thresholds.Violations = append(l.run.Thresholds.Violations, reports.Violation{
			Name:  fmt.Sprintf("k6 number of calls of test.fail() (%s)", reason),
			Limit: "0", Value: float64(max(1, calls)),
		})
	}
	return iterations
}

func (t *tally) span(w ledger.Write) error {
	t.writes[w.Scenario]++
	if w.Measured() {
		t.firstNs, t.lastNs = min(t.firstNs, w.IntendedNs), max(t.lastNs, w.IntendedNs)
		t.lastCommitNs = max(t.lastCommitNs, w.CommittedNs)
	}
	return nil
}

func (t *tally) second(ns int64) int { return int((ns - t.firstNs) / int64(time.Second)) }

func (t *tally) add(w ledger.Write) error {
	if !w.Measured() {
		return nil
	}
	summary, second := &t.run.Summary, t.second(w.IntendedNs)
	summary.TotalOperations++
	t.countOperation(&w)
	t.recorder.Offered(second)
	late := min(max(0, w.EnqueuedNs-w.IntendedNs), int64(time.Hour)) / int64(time.Microsecond)
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
	return nil
}

func (t *tally) stage(w *ledger.Write, stage string, ns int64) {
	t.recorder.Add(stage, w.Entity, string(w.Op), t.second(w.IntendedNs), time.Duration(ns))
}

// underFaults files the e2e latency of a write under each fault's inside or outside, and under
// e2eSteady when no fault and no recovery was going on. underFaults counts the writes committed and
// seen while nothing could get through: a change on its way at a fault's beginning has a second to
// arrive, and a tenth of a second at the end is for the clocks of k6 and of the lab.
func (t *tally) underFaults(w ledger.Write) error {
	if !w.Measured() || w.Fate != ledger.Acked || w.Untracked || w.VisibleNs == 0 {
		return nil
	}
	at, e2e, steady := float64(w.IntendedNs-t.firstNs)/1e9, w.VisibleNs-w.IntendedNs, true
	committed := float64(w.CommittedNs-t.firstNs) / 1e9
	seen := float64(w.VisibleNs-t.firstNs) / 1e9
	for i := range t.faults {
		f := &t.faults[i]
		recovered := f.window.EndSeconds + max(0, f.window.RecoveredSeconds, f.open)
		if f.window.Cut && f.window.Applied && committed >= f.window.StartSeconds+1 &&
			seen < f.window.EndSeconds-0.1 {
			f.window.SeenInside++
		}
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
		t.stage(&w, reports.E2ESteady, e2e)
	}
	return nil
}

// mostMergedSeconds is how many seconds of a segment keep their exact histograms for merging: a day
// has about 35 MB of these, and run.json has an end.
const mostMergedSeconds = 24 * 3600

func (t *tally) conclude(header ledger.Header, end ledger.End) {
	run := t.run
	run.Stages = append(t.recorder.Stages(), run.Stages...)
	run.Histograms = t.recorder.Histograms()
	for i := range run.Series {
		if run.Provenance.Config[reports.ConfigSegment] == "" || i >= mostMergedSeconds {
			run.Series[i].Histogram = "" // only a segment is merged
		}
	}
	if t.recorder.IsCut() {
		run.Warnings = append(run.Warnings, fmt.Sprintf("Writes came, or became "+
			"visible, later than %v: the series end there, and the totals do not.", longestLoad))
	}
	clock := t.recorder.Clock()
	run.Clock.NegativeSpans, run.Clock.ClampedSpans = clock.NegativeSpans, clock.ClampedSpans
	run.Tracker = reports.Tracker{
		Kind: header.Tracker, AskedShare: cmp.Or(end.SampleAsked, 1), Errors: end.TrackerErrors,
		WentBack: end.WentBack, FirstBack: end.FirstBack.String(),
		MedianLookMs:  float64(end.MedianLookNs) / 1e6,
		SlowestLookMs: float64(end.SlowestLookNs) / 1e6,
		Operations:    end.TrackerOperations, ServerOperations: end.ServerOperations,
		BudgetAsked: end.BudgetAsked, BudgetKept: end.BudgetKept,
	}
	run.Generator = reports.Generator{
		LateTicksP99Ms: float64(t.lateTicks.ValueAtPercentile(99)) / 1e3,
		QueueMax:       end.QueueMax, Substituted: end.Substituted,
		GCPauseMaxMs:        float64(end.GCPauseMaxNs) / 1e6,
		SchedulerDelayP99Ms: float64(end.SchedulerDelayP99Ns) / 1e6,
	}
	if t.acked > 0 {
		run.Tracker.TrackedShare = float64(t.tracked) / float64(t.acked)
	}
	for _, f := range t.faults {
		f.window.InsideP50, f.window.OutsideP50 = medianMs(f.inside), medianMs(f.outside)
	}
	t.throughput(header)
}

// measureLength finds the beginning and the length of the load. A scenario lasts as long as k6
// planned, or until the script drained; a write may be due later, in a graceful stop. Where the
// ledger has no end, n writes span n-1 of their gaps. Below a second there are no rates, so that a
// load lasts a second at least.
func (t *tally) measureLength(end ledger.End) {
	first, last := t.firstNs, t.lastNs
	var begun, n int64
	for scenario, writes := range t.writes {
		if ledger.Measured(scenario) {
			n += writes
		}
	}
	for _, s := range end.Scenarios {
		planned := slices.IndexFunc(t.run.Load.Scenarios, func(load reports.ScenarioLoad) bool {
			return load.Name == s.Name
		})
		if planned < 0 || !ledger.Measured(s.Name) {
			continue
		}
		if begun == 0 {
			begun = s.StartNs // when the faults' clock began
		}
		t.firstNs = min(t.firstNs, s.StartNs)
		plan := &t.run.Load.Scenarios[planned]
		over := s.StartNs + int64(plan.PlannedSeconds*1e9)
		if end.DrainNs > 0 {
			over = min(over, end.DrainNs)
		}
		if more := s.Iterations - plan.Planned; plan.Open && plan.Planned > 0 && more > 0 {
			// k6 may start the iteration that is due at the very end.
			over += more * int64(plan.PlannedSeconds*1e9) / plan.Planned
		}
		last = max(last, over)
	}
	if n == 0 {
		return
	}
	t.seconds = float64(last-t.firstNs) / 1e9
	if begun == 0 && n > 1 {
		t.seconds = float64(last-first) / 1e9 * float64(n) / float64(n-1)
	}
	t.seconds = max(1, t.seconds)
	for _, f := range t.faults {
		later := float64(max(begun, t.firstNs)-t.firstNs) / 1e9
		f.window.StartSeconds, f.window.EndSeconds = f.window.StartSeconds+later,
			f.window.EndSeconds+later
	}
}

// throughput needs the length of the load.
func (t *tally) throughput(header ledger.Header) {
	run, n := t.run, t.run.Summary.TotalOperations
	if n == 0 {
		return
	}
	run.Summary.Errors.Rate = float64(run.Summary.Errors.Total) / float64(n)
	run.TestRun.DurationSeconds = t.seconds
	run.TestRun.Duration = time.Duration(math.Round(t.seconds) * 1e9).String()
	run.TestRun.StartTime = time.Unix(0, header.StartUnixNs+t.firstNs).UTC()
	run.TestRun.EndTime = run.TestRun.At(t.seconds)
	lost := max(0, run.Summary.DroppedIterations) + max(0, run.Load.SilentIterations)
	run.Summary.Throughput.Offered = float64(n+lost) / t.seconds
	acking := float64(t.lastCommitNs-t.firstNs) / 1e9
	run.Summary.Throughput.Mean = float64(t.acked) / max(t.seconds, acking)
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
