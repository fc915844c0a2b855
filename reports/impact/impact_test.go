package impact

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/reports"
)

// run is a Run of 60 seconds at 100/s with a p95 of 20 ms, and a fault from second 20.5 to 24.5.
func run(change func(second int, s *reports.Second)) *reports.Run {
	r := &reports.Run{Faults: []reports.FaultWindow{{Name: "kill", Target: "consumer",
		Applied: true, StartSeconds: 20.5, EndSeconds: 24.5, RecoveredSeconds: 1}}}
	for second := range 60 {
		s := reports.Second{Second: second, Offered: 100, Committed: 100, Visible: 100, P95: 20}
		if change != nil {
			change(second, &s)
		}
		r.Series = append(r.Series, s)
	}
	return r
}

// early moves the fault to the seconds 2 to 4.
func early(r *reports.Run) *reports.Run {
	r.Faults[0].StartSeconds, r.Faults[0].EndSeconds = 2, 4
	return r
}

func TestOf(t *testing.T) {
	t.Parallel()
	slow := func(from, to int) func(int, *reports.Second) {
		return func(second int, s *reports.Second) {
			if second >= from && second < to {
				s.P95 = 400
			}
		}
	}
	for name, c := range map[string]struct {
		run  *reports.Run
		want Impact
	}{
		"latency": {run(slow(21, 30)), Impact{DetectSeconds: 1.5, By: byLatency,
			SteadySeconds: 5.5, BackSeconds: 5.5, WorstP95: 400, Degradation: 20}},
		"no row seen": {run(func(second int, s *reports.Second) {
			if second == 20 {
				s.Visible = 49
			}
		}), Impact{DetectSeconds: .5, By: byVisible, SteadySeconds: .5, WorstP95: 20,
			Degradation: 1}},
		"no commit": {run(func(second int, s *reports.Second) {
			if second == 22 {
				s.Committed = 0
			}
		}), Impact{DetectSeconds: 2.5, By: byCommits, SteadySeconds: .5, WorstP95: 20,
			Degradation: 1}},
		"rows wait": {run(func(second int, s *reports.Second) {
			if second >= 22 && second < 27 {
				s.Outstanding = 101
			}
		}), Impact{DetectSeconds: 2.5, By: byWaiting, SteadySeconds: 2.5, BackSeconds: 2.5,
			WorstP95: 20, Degradation: 1, MaxLag: 101}},
		"few rows wait": {run(func(_ int, s *reports.Second) { s.Outstanding = 100 }),
			Impact{DetectSeconds: -1, WorstP95: 20, Degradation: 1, MaxLag: 100}},
		"nothing shows": {run(nil), Impact{DetectSeconds: -1, WorstP95: 20, Degradation: 1}},
		// Nine steady seconds are no steady state: the next second decides anew.
		"back and forth": {run(func(second int, s *reports.Second) {
			slow(21, 26)(second, s)
			slow(35, 36)(second, s)
		}), Impact{DetectSeconds: 1.5, By: byLatency, SteadySeconds: 11.5, BackSeconds: 1.5,
			WorstP95: 400, Degradation: 20}},
		// Where few seconds were before the fault, the seconds after tell what is steady.
		"early": {early(run(slow(3, 5))), Impact{DetectSeconds: 2, By: byLatency,
			SteadySeconds: 1, BackSeconds: 1, WorstP95: 400, Degradation: 20}},
		"too short": {run(slow(21, 51)), Impact{DetectSeconds: 1.5, By: byLatency,
			SteadySeconds: -1, BackSeconds: 26.5, WorstP95: 400, Degradation: 20}},
		"never": {run(slow(21, 60)), Impact{DetectSeconds: 1.5, By: byLatency,
			SteadySeconds: -1, BackSeconds: -1, WorstP95: 400, Degradation: 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Fault, c.want.Target, c.want.Applied = "kill", "consumer", true
			if diff := cmp.Diff([]Impact{c.want}, Of(c.run)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNextFault: a fault that nothing shows is not blamed for the fault after.
func TestNextFault(t *testing.T) {
	t.Parallel()
	r := run(func(second int, s *reports.Second) {
		if second >= 30 && second < 33 {
			s.P95 = 400
		}
	})
	r.Faults = append(r.Faults, reports.FaultWindow{Name: "pause", Target: "mongo", Applied: true,
		StartSeconds: 30.5, EndSeconds: 32.5, RecoveredSeconds: 1})
	want := []Impact{
		{Fault: "kill", Target: "consumer", Applied: true, DetectSeconds: -1, WorstP95: 20,
			Degradation: 1, SteadySeconds: 0},
		{Fault: "pause", Target: "mongo", Applied: true, DetectSeconds: .5, By: byLatency,
			WorstP95: 400, Degradation: 20, SteadySeconds: .5, BackSeconds: .5},
	}
	if diff := cmp.Diff(want, Of(r)); diff != "" {
		t.Error(diff)
	}
}

// TestBack: a fault that another fault overlaps at the end, or follows at once, has no first
// steady second of its own.
func TestBack(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]reports.FaultWindow{
		"overlap": {StartSeconds: 23, EndSeconds: 28},
		"follows": {StartSeconds: 26, EndSeconds: 27},
	} {
		open := map[string]float64{"follows": 1.5}[name]
		r := run(func(second int, s *reports.Second) {
			if second >= 21 && second < 30 {
				s.P95 = 400
			}
		})
		r.Faults = append(r.Faults, other)
		all := Of(r)
		if all[0].BackSeconds != -1 || all[1].BackSeconds != 30-other.EndSeconds {
			t.Errorf("%s: %v and %v", name, all[0].BackSeconds, all[1].BackSeconds)
		}
		if all[0].OpenSeconds != open || all[1].OpenSeconds != 0 {
			t.Errorf("%s: open for %v and %v s, want %v and 0", name, all[0].OpenSeconds,
				all[1].OpenSeconds, open)
		}
	}
}

// TestOfNothing: a Run without seconds outside of the faults tells nothing.
func TestOfNothing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*reports.Run){
		"no fault":  func(r *reports.Run) { r.Faults = nil },
		"no second": func(r *reports.Run) { r.Series = nil },
		"no steady second": func(r *reports.Run) {
			r.Faults[0].StartSeconds, r.Faults[0].EndSeconds = 0, 58
		},
	} {
		r := run(nil)
		change(r)
		if got := Of(r); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestExpected: an expectation is kept, broken, or not told by the Run.
func TestExpected(t *testing.T) {
	t.Parallel()
	slow := run(func(second int, s *reports.Second) {
		if s.Outstanding = 8; second >= 21 && second < 30 {
			s.P95, s.Outstanding = 400, 300
		}
	})
	slow.Stages = []reports.Stage{{Stage: reports.E2ESteady, Count: 9,
		Latency: reports.Latency{P95: 20}}}
	endless := run(func(second int, s *reports.Second) {
		if second >= 21 {
			s.P95 = 400
		}
	})
	missed := run(nil)
	missed.Faults[0].Applied = false
	for name, c := range map[string]struct {
		expected   Expected
		run        *reports.Run
		broken     []reports.Violation
		unmeasured []string
	}{
		"nothing expected": {Expected{}, slow, nil, nil},
		"kept":             {Expected{20, 5.5, 20, 8, 300}, slow, nil, nil},
		"broken": {Expected{19, 5, 19, 7, 299}, slow, []reports.Violation{
			{Name: "p95 of the steady state", Limit: "at most 19 ms", Value: 20},
			{Name: "lag of the steady state", Limit: "at most 7 writes", Value: 8},
			{Name: "steady state after kill of consumer", Limit: "at most 5 s", Value: 5.5},
			{Name: "degradation under kill of consumer", Limit: "at most 19 times", Value: 20},
			{Name: "lag under kill of consumer", Limit: "at most 299 writes", Value: 300},
		}, nil},
		"not told": {Expected{20, 5, 0, 0, 0}, endless, nil, []string{"p95 of the steady state",
			"steady state after kill of consumer"}},
		"nothing measured": {Expected{0, 5, 2, 1, 1}, &reports.Run{}, nil, []string{
			"lag of the steady state", "steady state after the faults",
			"degradation under the faults", "lag under the faults"}},
		"not applied": {Expected{0, 1, 1, 0, 1}, missed, nil, nil},
	} {
		broken, unmeasured := c.expected.Judge(c.run)
		if diff := cmp.Diff(c.broken, broken); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(c.unmeasured, unmeasured); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestAddTo: a broken expectation of a plan is a crossed threshold beside the script's.
func TestAddTo(t *testing.T) {
	t.Parallel()
	r := run(func(second int, s *reports.Second) {
		if second >= 20 && second < 28 {
			s.P95 = 800
		}
	})
	r.Thresholds = reports.Thresholds{Violations: []reports.Violation{{Name: "k6 thresholds"}}}
	want := reports.Thresholds{
		Violations: []reports.Violation{{Name: "k6 thresholds"},
			{Name: "steady state after kill of consumer", Limit: "at most 2 s", Value: 3.5}},
		Unmeasured: []string{"p95 of the steady state"},
	}
	Expected{1000, 2, 50, 0, 0}.AddTo(r)
	if diff := cmp.Diff(want, r.Thresholds); diff != "" {
		t.Error(diff)
	}
	Expected{}.AddTo(r)
	if diff := cmp.Diff(want, r.Thresholds); diff != "" {
		t.Errorf("nothing expected: %s", diff)
	}
}
