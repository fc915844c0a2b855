package matrix

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/reports"
)

func TestResultOf(t *testing.T) {
	t.Parallel()
	run := soundRun()
	got := resultOf(mustFind(t, "kill"), run)
	want := &Result{Status: reports.Pass, DetectSeconds: 1.5, SteadySeconds: 1.5, WorstP99: 2200,
		Degradation: 100, MaxLag: 70, RecoveredSeconds: 1.5, Deliveries: run.Deliveries,
		Rows: map[reports.RowStatus]int64{reports.OK: 900}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	run.Series = nil
	if got := resultOf(mustFind(t, "kill"), run); got.SteadySeconds != -1 ||
		got.DetectSeconds != -1 {
		t.Errorf("of no second: %+v", got)
	}
}

// TestLossOfTheFault: rows lost under a fault that loses rows by itself are no failure of the
// pipeline, and no pass; every other failure stays.
func TestLossOfTheFault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault    string
		change   func(*reports.Run)
		want     reports.Status
		expected bool
	}{
		"sound":               {"slot-dropped", func(*reports.Run) {}, reports.Pass, false},
		"lost":                {"slot-dropped", lose, reports.Unknown, true},
		"other kind":          {"kill", lose, reports.Fail, false},
		"lost and never seen": {"slot-dropped", unseen(2), reports.Unknown, true},
		"never seen, too":     {"slot-dropped", unseen(3), reports.Unknown, false},
		"slow, too": {"slot-dropped", func(r *reports.Run) {
			lose(r)
			r.Thresholds.Violations = []reports.Violation{{Name: "e2e p95 (ms)", Limit: "< 1",
				Value: 2}}
		}, reports.Fail, false},
		"not applied, too": {"slot-dropped", func(r *reports.Run) {
			lose(r)
			r.Faults[0].Applied = false
		}, reports.Unknown, false},
	} {
		run := judgeable()
		c.change(run)
		run.Conclude()
		got := resultOf(mustFind(t, c.fault), run)
		if got.Status != c.want || got.Expected != c.expected {
			t.Errorf("%s: %s, expected %v: %q", name, got.Status, got.Expected, got.Reasons)
		}
	}
}

// unseen loses two rows, and the tracker never sees n writes.
func unseen(n int64) func(*reports.Run) {
	return func(r *reports.Run) {
		lose(r)
		r.Summary.Timeouts = n
	}
}

func lose(r *reports.Run) {
	r.Consistency.Counts[reports.Lost], r.Consistency.Counts[reports.OK] = 2, 898
}

// judgeable is a soundRun with all that a verdict rests on.
func judgeable() *reports.Run {
	r := soundRun()
	latency := reports.Latency{P50: 10, P95: 20, P99: 25, Max: 30, Mean: 10}
	r.TestRun.DurationSeconds = 30
	r.Summary.TotalOperations, r.Summary.Throughput.Offered = 900, 30
	r.Summary.Throughput.Mean, r.Summary.Throughput.Max = 30, 30
	r.Tracker = reports.Tracker{Kind: "changestream", TrackedShare: 1, AskedShare: 1}
	for _, stage := range []string{reports.E2E, reports.E2ESteady} {
		r.Stages = append(r.Stages, reports.Stage{Stage: stage, Count: 900, Latency: latency})
	}
	return r
}
