package experiments

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/xk6-cdc/ledger"
)

const second = int64(time.Second)

// writeLedger stores writes as a generator would have.
func writeLedger(t *testing.T, path string, writes []ledger.Write) {
	t.Helper()
	w, err := ledger.Create(path, ledger.Header{StartUnixNs: 1_000 * second, Tracker: "changestream"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range writes {
		w.Append(&writes[i])
	}
	if err := w.Close(ledger.End{QueueMax: 7}); err != nil {
		t.Fatal(err)
	}
}

// sessionOver is a session whose load is over and left these writes.
func sessionOver(t *testing.T, writes []ledger.Write, faults ...reports.FaultWindow) *session {
	t.Helper()
	s := &session{k6: &generator{dir: t.TempDir()}, run: &reports.Run{Faults: faults}}
	writeLedger(t, s.k6.ledgerPath(), writes)
	writeFile(t, s.k6.summaryPath(), `{"metrics": {"dropped_iterations": {"count": 2},
		"m": {"p(95)": 3, "thresholds": {"p(95)<1": true, "p(95)<9": false}}}}`)
	if err := s.readLedger(); err != nil {
		t.Fatal(err)
	}
	return s
}

func due(id, at int64) ledger.Write {
	const ms = int64(time.Millisecond)
	return ledger.Write{
		ID: id, Scenario: "load", Entity: "customer", Op: ledger.Insert, Fate: ledger.Acked,
		IntendedNs: at, EnqueuedNs: at + ms, SentNs: at + 2*ms, CommittedNs: at + 5*ms, VisibleNs: at + 10*ms,
	}
}

func TestLedgerBecomesRun(t *testing.T) {
	t.Parallel()
	warm := due(1, 1*second)
	warm.Scenario = "warmup"
	failed, unknown, late, never := due(6, 14*second), due(7, 15*second), due(8, 16*second), due(9, 17*second)
	failed.Fate, failed.VisibleNs = ledger.Failed, 0
	unknown.Fate, unknown.VisibleNs = ledger.Indeterminate, 0
	late.TimedOut, late.VisibleNs = true, late.IntendedNs+40*second
	never.TimedOut, never.VisibleNs = true, 0
	early := due(5, 13*second)
	early.VisibleNs = early.CommittedNs - 1 // the change event overtook the acknowledgement
	s := sessionOver(t, []ledger.Write{warm, due(2, 10*second), due(3, 11*second), due(4, 12*second), early,
		failed, unknown, late, never, due(10, 18*second), due(11, 19*second)})

	run, sum := s.run, s.run.Summary
	check := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.01*math.Abs(want)+1e-9 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	check("operations", float64(sum.TotalOperations), 10)
	check("errors", float64(sum.Errors.Total), 1)
	check("indeterminate", float64(sum.Indeterminate), 1)
	check("timeouts", float64(sum.Timeouts), 2)
	check("late", float64(sum.Late), 1)
	check("dropped", float64(sum.DroppedIterations), 2)
	check("length", run.TestRun.DurationSeconds, 10)
	check("offered rate", sum.Throughput.Offered, 1.2)
	check("achieved rate", sum.Throughput.Mean, 0.8)
	check("late ticks", run.Generator.LateTicksP99Ms, 1)
	check("negative spans", float64(run.Clock.NegativeSpans), 0)
	e2e, _ := run.StageOf(reports.E2E, "", "")
	check("e2e p50", e2e.P50, 10)
	check("e2e count", float64(e2e.Count), 7)
	if got, want := run.TestRun.StartTime, time.Unix(1_010, 0).UTC(); !got.Equal(want) {
		t.Errorf("start %v, want %v", got, want)
	}
	if v := run.Thresholds.Violations; len(v) != 1 || v[0] != (reports.Violation{Name: "k6 m", Limit: "p(95)<1", Value: 3}) {
		t.Errorf("violations %+v, want the one that k6 found", v)
	}
}

// TestK6Says: the summary is k6's, whatever the script does with it; without one, the exit code still says
// that a threshold was crossed, and dropped iterations are not known.
func TestK6Says(t *testing.T) {
	t.Parallel()
	type violations = []reports.Violation
	for name, c := range map[string]struct {
		summary string
		crossed bool
		dropped int64
		want    violations
	}{
		"nothing":         {`{"metrics": {"m": {"avg": 1}}}`, false, 0, nil},
		"rate and median": {`{"metrics": {"checks": {"value": 0.5, "thresholds": {"rate>0.9": true}}, "m": {"med": 4, "thresholds": {"p(50)<1": true}}}}`, true, 0, violations{{Name: "k6 checks", Limit: "rate>0.9", Value: 0.5}, {Name: "k6 m", Limit: "p(50)<1", Value: 4}}},
		"unlisted value":  {`{"metrics": {"m": {"med": 4, "thresholds": {"p(99)<1": true}}}}`, true, 0, violations{{Name: "k6 m, which is not in the script's summaryTrendStats,", Limit: "p(99)<1"}}},
		"no summary":      {"", false, -1, nil},
		"only the code":   {"", true, -1, violations{{Name: "k6 thresholds", Limit: "exit code 0", Value: 99}}},
		"unlisted":        {`{"metrics": {}}`, true, 0, violations{{Name: "k6 thresholds", Limit: "exit code 0", Value: 99}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &session{k6: &generator{dir: t.TempDir()}, run: &reports.Run{}, crossed: c.crossed}
			if c.summary != "" {
				writeFile(t, s.k6.summaryPath(), c.summary)
			}
			s.readSummary()
			if diff := cmp.Diff(c.want, s.run.Thresholds.Violations); diff != "" || s.run.Summary.DroppedIterations != c.dropped {
				t.Errorf("%d dropped, want %d; violations %s", s.run.Summary.DroppedIterations, c.dropped, diff)
			}
			if s.run.TestRun.Partial {
				t.Error("the run counts as ended before its time")
			}
		})
	}
}

// TestFaultSplitsLatency: inside a fault, in its recovery, and steady are three different things.
func TestFaultSplitsLatency(t *testing.T) {
	t.Parallel()
	writes := []ledger.Write{due(1, 0), due(2, 1*second), due(3, 2*second), due(4, 3*second), due(5, 4*second)}
	writes[1].VisibleNs = writes[1].IntendedNs + 100*int64(time.Millisecond)
	writes[2].VisibleNs = writes[2].IntendedNs + 50*int64(time.Millisecond)
	s := sessionOver(t, writes,
		reports.FaultWindow{StartSeconds: 0.5, EndSeconds: 1.5, RecoveredSeconds: 1})
	if f := s.run.Faults[0]; f.InsideP50 != 100 || f.OutsideP50 != 10 {
		t.Errorf("inside %v, outside %v ms, want 100 and 10", f.InsideP50, f.OutsideP50)
	}
	steady, _ := s.run.StageOf(reports.E2ESteady, "", "")
	if steady.Count != 3 || steady.Max > 11 {
		t.Errorf("steady %+v, want the 3 writes outside the fault and its recovery", steady)
	}
}

// TestTruncatedLedger: what a killed generator left still counts, and is marked.
func TestTruncatedLedger(t *testing.T) {
	t.Parallel()
	s := &session{k6: &generator{dir: t.TempDir()}, run: &reports.Run{}}
	path := filepath.Join(s.k6.dir, "whole")
	writeLedger(t, path, []ledger.Write{due(1, 0), due(2, second)})
	text := readFile(t, path)
	writeFile(t, s.k6.ledgerPath(), text[:len(text)-40])
	if err := s.readLedger(); err != nil {
		t.Error(err)
	}
	if s.run.Summary.DroppedIterations != -1 {
		t.Errorf("%d dropped iterations: k6 left no summary", s.run.Summary.DroppedIterations)
	}
	if !s.run.Ledger.Truncated || s.run.Summary.TotalOperations == 0 {
		t.Errorf("%+v, %d operations: want it marked, with what is there", s.run.Ledger, s.run.Summary.TotalOperations)
	}
}

// TestSourceLoss: a write that PostgreSQL itself lost proves nothing against the pipeline, and hides
// nothing that the pipeline did.
func TestSourceLoss(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		counts map[chaos.Status]int
		want   reports.Status
	}{
		{map[chaos.Status]int{chaos.OK: 5}, reports.Pass},
		{map[chaos.Status]int{chaos.OK: 5, chaos.SourceLoss: 1}, reports.Unknown},
		{map[chaos.Status]int{chaos.OK: 5, chaos.SourceLoss: 1, chaos.Lost: 1}, reports.Fail},
	} {
		result := ReportConsistency(chaos.Consistency{Rows: 5, Documents: 5, Counts: c.counts})
		if got := result.Status(); got != c.want {
			t.Errorf("%v is %s, want %s", c.counts, got, c.want)
		}
	}
}
