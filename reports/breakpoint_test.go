package reports

import (
	"slices"
	"strings"
	"testing"
)

// stagedRun is a good run with another p95 of a stage, which the whole pipeline then takes as well.
func stagedRun(t *testing.T, stage string, p95 float64) *Run {
	t.Helper()
	r := goodRun(t)
	for i := range r.Stages {
		s := &r.Stages[i]
		inPipeline := s.Stage == Pipeline && slices.Contains(PartStages, stage) && stage != Commit
		if s.Entity == "" && (s.Stage == stage || inPipeline) {
			s.P95 = p95
		}
	}
	return r
}

func TestLimitingNamesTheStageThatGrewMost(t *testing.T) {
	t.Parallel()
	held := goodRun(t)
	for stage, part := range map[string]string{
		Commit: "postgres", SourceToConnector: "connector", ConnectorToKafka: "kafka",
		KafkaToConsumer:   "consumer",
		ConsumerToApplied: "mongo",
	} {
		got, why := Limiting(held, stagedRun(t, stage, 900))
		if got != part || !strings.Contains(why, "900 ms at p95") ||
			!strings.Contains(why, "consumer's") {
			t.Errorf("%s: %s, %s; want %s", stage, got, why, part)
		}
	}
	if got, why := Limiting(held, stagedRun(t, Pipeline, 900)); got != "tracker" ||
		!strings.Contains(why, "rest of the pipeline took 89") {
		t.Errorf("slow between applied and seen: %s, %s; want the tracker", got, why)
	}
	late := stagedRun(t, ConsumerToApplied, 900)
	late.Generator.LateTicksP99Ms = 73
	if got, why := Limiting(held, late); got != "generator" ||
		!strings.Contains(why, "73 ms late") {
		t.Errorf("late where there are processors: %s, %s; want the generator", got, why)
	}
	late.Host.CPUBusyPercent = 99
	if got, why := Limiting(held, late); got != "mongo" ||
		!strings.Contains(why, "used up (99 %)") {
		t.Errorf("late where the processors are used up: %s, %s; want mongo, which grew most",
			got, why)
	}
	broke := stagedRun(t, Commit, 900)
	broke.Summary.DroppedIterations, broke.Host.CPUBusyPercent = 7, 99
	if got, why := Limiting(held, broke); got != "generator" ||
		!strings.Contains(why, "7 iterations") || !strings.Contains(why, "used up (99 %)") {
		t.Errorf("%s: %s", got, why)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	if p := NewProbe(100, goodRun(t)); !p.Held || p.Reason != "" || p.Rate != 100 || p.P95 <= 0 {
		t.Errorf("%+v", p)
	}
	for says, spoil := range map[string]func(*Run){
		"e2e p95 is 2100": func(r *Run) {
			r.Thresholds.Violations = []Violation{{"k6 x", "p(95)<2000", 2},
				{"e2e p95", "< 2000 ms", 2100}}
		},
		"k6 x is 2": func(r *Run) {
			r.Thresholds.Violations = []Violation{{"k6 x", "p(95)<2000", 2}}
		},
		"lag grows by 30": func(r *Run) {
			r.Lag = Lag{Known: true, Pattern: LagGrowing, PerSecond: 30}
		},
		"dropped 3 iterations":   func(r *Run) { r.Summary.DroppedIterations = 3 },
		"generator was saturate": func(r *Run) { r.Generator.LateTicksP99Ms = 60 },
	} {
		r := goodRun(t)
		spoil(r)
		if p := NewProbe(100, r); p.Held || !strings.Contains(p.Reason, says) ||
			strings.Contains(p.Reason, "k6") && !strings.HasPrefix(says, "k6") {
			t.Errorf("%+v, want %q", p, says)
		}
	}
}

// TestBusyAtTheBreakpoint: there a busy machine is the finding, not a doubt.
func TestBusyAtTheBreakpoint(t *testing.T) {
	t.Parallel()
	r := goodRun(t)
	r.Host.CPUBusyPercent = 99
	r.Breakpoint = Breakpoint{Rate: 800, HoldSeconds: 20, Broke: 830, Part: "mongo", Why: "x",
		Probes: []Probe{{Rate: 900}, {Rate: 800, Held: true}}}
	r.Conclude()
	if r.Verdict.Status != Pass {
		t.Errorf("%+v", r.Verdict)
	}
}

// TestNoBreakpoint: a search that found only one side cannot tell, and says so.
func TestNoBreakpoint(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]Breakpoint{
		"not found in 3 probes: no rate held, down to 400/s.": {Broke: 400,
			Probes: make([]Probe, 3)},
		"not found in 2 probes: no rate broke, up to 800/s.": {Rate: 800,
			Probes: make([]Probe, 2)},
	} {
		r := goodRun(t)
		r.Breakpoint = b
		r.Conclude()
		if r.Verdict.Status != Unknown ||
			!strings.Contains(strings.Join(r.Verdict.Reasons, ""), want) {
			t.Errorf("%+v, want %q", r.Verdict, want)
		}
	}
}
