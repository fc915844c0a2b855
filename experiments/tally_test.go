package experiments

import (
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/ledger"
	"github.com/cdclab/cdclab/reports"
)

const second = int64(time.Second)

// writeLedger stores writes as a generator would have.
func writeLedger(t *testing.T, path string, writes []ledger.Write) {
	t.Helper()
	w, err := ledger.Create(path, ledger.Header{StartUnixNs: 1_000 * second,
		Tracker: "changestream"})
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

// loadOver returns a finished load with these writes.
func loadOver(t *testing.T, writes []ledger.Write, faults ...reports.FaultWindow) *load {
	t.Helper()
	l := &load{k6: &generator{dir: t.TempDir()}, run: &reports.Run{Faults: faults}}
	writeLedger(t, l.k6.ledgerPath(), writes)
	writeFile(t, l.k6.summaryPath(), `{"metrics": {"dropped_iterations": {"count": 2},
		"m": {"p(95)": 3, "thresholds": {"p(95)<1": true, "p(95)<9": false}}}}`)
	if err := l.readLedger(); err != nil {
		t.Fatal(err)
	}
	return l
}

func due(id, at int64) ledger.Write {
	const ms = int64(time.Millisecond)
	return ledger.Write{
		ID: id, Scenario: "load", Entity: "customer", Op: ledger.Insert, Fate: ledger.Acked,
		IntendedNs: at, EnqueuedNs: at + ms, SentNs: at + 2*ms, CommittedNs: at + 5*ms,
		VisibleNs: at + 10*ms,
	}
}

func TestLedgerBecomesRun(t *testing.T) {
	t.Parallel()
	warm := due(1, 1*second)
	warm.Scenario = "warmup"
	failed, unknown, late, never := due(6, 14*second), due(7, 15*second), due(8, 16*second),
		due(9, 17*second)
	failed.Fate, failed.VisibleNs = ledger.Failed, 0
	unknown.Fate, unknown.VisibleNs = ledger.Indeterminate, 0
	late.TimedOut, late.VisibleNs = true, late.IntendedNs+40*second
	never.TimedOut, never.VisibleNs = true, 0
	early := due(5, 13*second)
	early.VisibleNs = early.CommittedNs - 1 // the change event overtook the acknowledgement
	l := loadOver(t, []ledger.Write{warm, due(2, 10*second), due(3, 11*second), due(4, 12*second),
		early,
		failed, unknown, late, never, due(10, 18*second), due(11, 19*second)})

	run, sum := l.run, l.run.Summary
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
	if v := run.Thresholds.Violations; len(v) != 1 ||
		v[0] != (reports.Violation{Name: "k6 m", Limit: "p(95)<1", Value: 3}) {
		t.Errorf("violations %+v, want the one that k6 found", v)
	}
}

// TestK6Says: the summary is k6's, whatever the script does; without a summary, the exit code still
// says that a threshold was crossed, and dropped iterations are not known.
func TestK6Says(t *testing.T) {
	t.Parallel()
	type violations = []reports.Violation
	for name, c := range map[string]struct {
		summary string
		crossed bool
		dropped int64
		want    violations
	}{
		"nothing": {`{"metrics": {"m": {"avg": 1}}}`, false, 0, nil},
		"rate and median": {
			`{"metrics": {"checks": {"value": 0.5, "thresholds": {"rate>0.9": true}}, ` +
				`"m": {"med": 4, "thresholds": {"p(50)<1": true}}}}`,
			true, 0, violations{
				{Name: "k6 checks", Limit: "rate>0.9", Value: 0.5},
				{Name: "k6 m", Limit: "p(50)<1", Value: 4},
			},
		},
		"unlisted value": {
			`{"metrics": {"m": {"med": 4, "thresholds": {"p(99)<1": true}}}}`, true, 0,
			violations{{
				Name:  "k6 m, which is not in the script's summaryTrendStats,",
				Limit: "p(99)<1",
			}},
		},
		"no summary": {"", false, -1, nil},
		"only the code": {"", true, -1,
			violations{{Name: "k6 thresholds", Limit: "exit code 0", Value: 99}}},
		"unlisted": {`{"metrics": {}}`, true, 0,
			violations{{Name: "k6 thresholds", Limit: "exit code 0", Value: 99}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &load{k6: &generator{dir: t.TempDir()}, run: &reports.Run{}, crossed: c.crossed}
			if c.summary != "" {
				writeFile(t, l.k6.summaryPath(), c.summary)
			}
			l.readSummary()
			if diff := cmp.Diff(c.want, l.run.Thresholds.Violations); diff != "" ||
				l.run.Summary.DroppedIterations != c.dropped {
				t.Errorf("%d dropped, want %d; violations %s", l.run.Summary.DroppedIterations,
					c.dropped, diff)
			}
			if l.run.TestRun.Partial {
				t.Error("the run counts as ended before its time")
			}
		})
	}
}

// TestThresholdsOnNothing: the summary is that of a real k6, whose script samples nothing.
func TestThresholdsOnNothing(t *testing.T) {
	t.Parallel()
	l := &load{k6: &generator{dir: t.TempDir()}, run: &reports.Run{}}
	writeFile(t, l.k6.summaryPath(), `{"metrics": {
		"iteration_duration{scenario:nobody}": {"p(95)": 0, "thresholds": {"p(95)<500": false}},
		"empty_trend": {"avg": 0, "max": 0, "thresholds": {"p(95)<2": false, "max<3": false}},
		"crossed": {"avg": 0, "max": 0, "thresholds": {"p(95)>2": true}},
		"trend": {"avg": 0.04, "p(50)": 0, "thresholds": {"p(95)<200": false}},
		"http_req_failed": {"passes": 0, "fails": 0, "value": 0,
			"thresholds": {"rate<0.1": false}},
		"none_failed": {"passes": 0, "fails": 9, "value": 0, "thresholds": {"rate<0.1": false}},
		"counter": {"count": 0, "rate": 0, "thresholds": {"count<5": false}},
		"gauge": {"value": 0, "min": 0, "max": 0, "thresholds": {"value<5": false}},
		"data_sent": {"count": 0, "rate": 0}}}`)
	l.readSummary()
	want := []string{"k6 empty_trend max<3", "k6 empty_trend p(95)<2",
		"k6 http_req_failed rate<0.1", "k6 iteration_duration{scenario:nobody} p(95)<500"}
	if diff := cmp.Diff(want, l.run.Thresholds.Unmeasured); diff != "" {
		t.Error(diff)
	}
}

// TestFaultSplitsLatency: inside a fault, in the fault's recovery, and steady are three different
// things.
func TestFaultSplitsLatency(t *testing.T) {
	t.Parallel()
	writes := []ledger.Write{due(1, 0), due(2, 1*second), due(3, 2*second), due(4, 3*second),
		due(5, 4*second)}
	writes[1].VisibleNs = writes[1].IntendedNs + 100*int64(time.Millisecond)
	writes[2].VisibleNs = writes[2].IntendedNs + 50*int64(time.Millisecond)
	l := loadOver(t, writes,
		reports.FaultWindow{StartSeconds: 0.5, EndSeconds: 1.5, RecoveredSeconds: 1})
	if f := l.run.Faults[0]; f.InsideP50 != 100 || f.OutsideP50 != 10 {
		t.Errorf("inside %v, outside %v ms, want 100 and 10", f.InsideP50, f.OutsideP50)
	}
	steady, _ := l.run.StageOf(reports.E2ESteady, "", "")
	if steady.Count != 3 || steady.Max > 11 {
		t.Errorf("steady %+v, want the 3 writes outside the fault and its recovery", steady)
	}
}

// TestRecoveryOfTheLatency: a recovery is not over while rows that waited are still late, although
// every part serves, and their latency is none of the steady state.
func TestRecoveryOfTheLatency(t *testing.T) {
	t.Parallel()
	var writes []ledger.Write
	for at := range int64(30) {
		w := due(at+1, at*second)
		if at >= 5 && at < 12 { // seen together in second 12
			w.VisibleNs = 12*second + 10*int64(time.Millisecond)
		}
		writes = append(writes, w)
	}
	l := loadOver(t, writes,
		reports.FaultWindow{StartSeconds: 5, EndSeconds: 8, RecoveredSeconds: 1, Applied: true})
	if got := l.run.Faults[0].RecoveredSeconds; got != 4 {
		t.Errorf("recovered after %v s, want 4", got)
	}
	steady, _ := l.run.StageOf(reports.E2ESteady, "", "")
	if steady.Max > 11 || steady.Count != 22 {
		t.Errorf("steady %+v, want the 22 writes that nothing held up", steady)
	}
	never := loadOver(t, writes,
		reports.FaultWindow{StartSeconds: 5, EndSeconds: 8, RecoveredSeconds: -1})
	if got := never.run.Faults[0].RecoveredSeconds; got != -1 {
		t.Errorf("a part that never came back recovered after %v s", got)
	}
}

// TestRecoveryUntilTheNextFault: seconds between two faults, none of them steady, are part of the
// recovery, as long as a recovery may last, and no steady state.
func TestRecoveryUntilTheNextFault(t *testing.T) {
	t.Parallel()
	var writes []ledger.Write
	for at := range int64(30) {
		w := due(at+1, at*second)
		if at >= 5 && at < 12 {
			w.VisibleNs = 12*second + 10*int64(time.Millisecond)
		}
		writes = append(writes, w)
	}
	for limit, want := range map[float64]int64{60: 22, 2: 23, 0: 25} {
		l := loadOver(t, writes,
			reports.FaultWindow{StartSeconds: 5, EndSeconds: 6.5, RecoveredSeconds: .2,
				RecoveryLimitSeconds: limit, Applied: true},
			reports.FaultWindow{StartSeconds: 9.5, EndSeconds: 10, RecoveredSeconds: .2,
				RecoveryLimitSeconds: limit, Applied: true})
		if got := l.run.Faults[0].RecoveredSeconds; got != .2 {
			t.Errorf("recovered after %v s: nobody knows more than .2", got)
		}
		steady, _ := l.run.StageOf(reports.E2ESteady, "", "")
		if steady.Count != want {
			t.Errorf("limit %v s: %d steady writes, want %d", limit, steady.Count, want)
		}
	}
}

// TestDamagedLedger: a line that cannot be read costs what comes after the line, and is told.
func TestDamagedLedger(t *testing.T) {
	t.Parallel()
	l := &load{k6: &generator{dir: t.TempDir()}, run: &reports.Run{}}
	writeLedger(t, l.k6.ledgerPath(), []ledger.Write{due(1, 0), due(2, second), due(3, 2*second)})
	text := readFile(t, l.k6.ledgerPath())
	writeFile(t, l.k6.ledgerPath(), strings.Replace(text, `"id":3`, `"id":\x00`, 1))
	if err := l.readLedger(); err == nil || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("%v, want the line", err)
	}
	e2e, ok := l.run.StageOf(reports.E2E, "", "")
	if !ok || e2e.Count != 2 || l.run.Summary.TotalOperations != 2 {
		t.Errorf("%d operations, %+v: want the two before the line", l.run.Summary.TotalOperations,
			e2e)
	}
}

// TestLateByHours: a tick that is late beyond the histogram costs no other write.
func TestLateByHours(t *testing.T) {
	t.Parallel()
	late := due(2, second)
	late.EnqueuedNs = late.IntendedNs + 5*3600*second
	l := loadOver(t, []ledger.Write{due(1, 0), late, due(3, 2*second)})
	if n := l.run.Summary.TotalOperations; n != 3 {
		t.Errorf("%d operations, want 3", n)
	}
}

// TestLongerThanAWeek: the writes of a load longer than the series count all the same, and the run
// says where the series end.
func TestLongerThanAWeek(t *testing.T) {
	t.Parallel()
	week := due(2, reports.MaxSecond*second)
	l := loadOver(t, []ledger.Write{due(1, 0), week})
	if len(l.run.Warnings) > 0 {
		t.Errorf("a week: %q", l.run.Warnings)
	}
	l = loadOver(t, []ledger.Write{due(1, 0), week, due(3, (reports.MaxSecond+1)*second)})
	if n, warned := l.run.Summary.TotalOperations, strings.Join(l.run.Warnings, "\n"); n != 3 ||
		!strings.Contains(warned, "visible, later than 168h0m0s: the series end there") {
		t.Errorf("%d operations, warnings %q", n, warned)
	}
	l.run.Mend()
	if err := l.run.Encode(io.Discard); err != nil {
		t.Error(err)
	}
}

// TestTruncatedLedger: the writes left by a killed generator still count, and are marked.
func TestTruncatedLedger(t *testing.T) {
	t.Parallel()
	l := &load{k6: &generator{dir: t.TempDir()}, run: &reports.Run{}}
	path := filepath.Join(l.k6.dir, "whole")
	writeLedger(t, path, []ledger.Write{due(1, 0), due(2, second)})
	text := readFile(t, path)
	writeFile(t, l.k6.ledgerPath(), text[:len(text)-40])
	if err := l.readLedger(); err != nil {
		t.Error(err)
	}
	if l.run.Summary.DroppedIterations != -1 {
		t.Errorf("%d dropped iterations: k6 left no summary", l.run.Summary.DroppedIterations)
	}
	if !l.run.Ledger.Truncated || l.run.Summary.TotalOperations == 0 {
		t.Errorf("%+v, %d operations: want it marked, with what is there", l.run.Ledger,
			l.run.Summary.TotalOperations)
	}
}

// TestSeenThroughCuts: writes that the tracker reports although nothing could get through are
// counted. Writes on their way at the fault's beginning, and writes seen after its end, are not.
func TestSeenThroughCuts(t *testing.T) {
	t.Parallel()
	seen := func(id, at, until int64) ledger.Write {
		w := due(id, at)
		w.VisibleNs = until
		return w
	}
	writes := []ledger.Write{due(1, 10*second), seen(2, 12*second, 14*second), // on its way
		due(3, 14*second), seen(4, 14*second, 16*second), seen(5, 15*second, 19*second),
		due(6, 19*second)}
	for name, c := range map[string]struct {
		fault, target string
		applied       bool
		want          int64
	}{
		"a frozen MongoDB":              {"pause", "mongo", true, 2},
		"a frozen connector":            {"pause", "connector", true, 2},
		"a hop, perhaps one way":        {"partition", "consumer-mongo", true, 0},
		"a consumer, perhaps of two":    {"pause", "consumer", true, 0},
		"one consumer of two":           {"pause", "consumer-2", true, 0},
		"a longer way":                  {"latency", "consumer-mongo", true, 0},
		"a MongoDB that comes back":     {"kill", "mongo", true, 0},
		"a fault that was not in force": {"pause", "mongo", false, 0},
	} {
		l := loadOver(t, writes, reportFault(chaos.Window{Fault: c.fault, Target: c.target,
			Start: 2 * time.Second, End: 7 * time.Second, Applied: c.applied}, &chaos.Plan{}))
		if got := l.run.Faults[0].SeenInside; got != c.want {
			t.Errorf("%s: %d writes seen through the fault, want %d", name, got, c.want)
		}
	}
}
