package reports

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// steadyFault is a fault without any objection.
var steadyFault = FaultWindow{Name: "kill", Target: "consumer", StartSeconds: 1, EndSeconds: 2,
	Applied: true}

// judgeCases change one thing in a run otherwise without a doubt; reason is the only reason of the
// verdict, or empty for none.
var judgeCases = []struct {
	name   string
	change func(*Run)
	status Status
	reason string
}{
	{"good", func(*Run) {}, Pass, ""},
	{"late rows", func(r *Run) { r.Consistency.Counts[Late] = 5 }, Pass, ""},
	{"lost", func(r *Run) { r.Consistency.Counts[Lost] = 1 }, Fail,
		"1 row or document is lost: committed in PostgreSQL and absent from MongoDB."},
	{"stale", func(r *Run) {
		r.Consistency.Counts[Stale] = 2
	}, Fail, "2 rows or documents are stale"},
	{"phantom", func(r *Run) { r.Consistency.Counts[Phantom] = 1 }, Fail,
		"1 row or document is phantom"},
	{"resurrected", func(r *Run) { r.Consistency.Counts[Resurrected] = 1 }, Fail, "is resurrected"},
	{"corrupt", func(r *Run) { r.Consistency.Counts[Corrupt] = 1 }, Fail, "is corrupt"},
	{"wrong parent", func(r *Run) { r.Consistency.Counts[WrongParent] = 3 }, Fail,
		"3 rows or documents are under the wrong parent."},
	{"PostgreSQL lost a write", func(r *Run) { r.Consistency.Counts[SourceLoss] = 1 }, Unknown,
		"PostgreSQL itself lost 1 acknowledged write."},
	{"a document went back", func(r *Run) {
		r.Tracker.WentBack, r.Tracker.FirstBack = 1, "document a showed version 4"
	}, Fail, "Under the load 1 document went back to an older state: document a showed version 4."},
	{"dead letters", func(r *Run) { r.Letters = Letters{Unreadable: 9} }, Pass, ""},
	{"a dead letter is missing", func(r *Run) {
		r.Letters = Letters{Unreadable: 9, Missing: 2, Example: "t, partition 0, offset 7"}
	}, Fail, "2 unreadable records have no dead letter: t, partition 0, offset 7."},
	{"p50", func(r *Run) { r.Summary.Latency = Latency{500, 600, 700, 800, 500} }, Fail,
		"E2e p50 is 500, the limit is < 500 ms."},
	{"p95", func(r *Run) { r.Summary.Latency = Latency{1, 2000, 2000, 2000, 1} }, Fail,
		"E2e p95 is 2000, the limit is < 2000 ms."},
	{"p99", func(r *Run) { r.Summary.Latency = Latency{1, 2, 5140, 6000, 1} }, Fail,
		"E2e p99 is 5140, the limit is < 5000 ms."},
	{"errors", func(r *Run) { r.Summary.Errors = Errors{6, 0.001} }, Fail,
		"Error rate is 0.1, the limit is < 0.1 %."},
	{"rate", func(r *Run) { r.Summary.Throughput.Mean = 98.9 }, Fail,
		"Achieved rate is 98.9, the limit is >= 99 % of offered."},
	{"a threshold of k6", func(r *Run) {
		r.Thresholds.Violations = []Violation{{"checks", "rate > 0.99", 0.5}}
	}, Fail, "Checks is 0.5, the limit is rate > 0.99."},
	{"partial", func(r *Run) { r.TestRun.Partial, r.TestRun.DurationSeconds = true, 12 }, Unknown,
		"The run was ended before its time, after 12 s."},
	{"not checked", func(r *Run) {
		r.Consistency = Consistency{Error: "drain took longer than 60 s"}
	},
		Unknown, "The rows were not compared with the documents: drain took longer than 60 s."},
	{"nothing to check", func(r *Run) { r.Consistency.Counts = nil }, Unknown,
		"The check compared 0 rows and documents"},
	{"not drained", func(r *Run) {
		r.Consistency.Counts[OK], r.Consistency.Counts[Lost] = 0, 7655
		r.Consistency.Counts[Resurrected] = 88
		r.Consistency.NotDrained("the consumer is 16040 records behind")
	}, Unknown, "The pipeline had not drained when the rows were compared, and " +
		"7743 rows or documents were different, perhaps on the way: the consumer is 16040 " +
		"records behind."},
	{"not drained, and all rows are right", func(r *Run) {
		r.Consistency.NotDrained("the ends of the topics move")
	}, Unknown, "The pipeline had not drained"},
	{"a lab that stood still", func(r *Run) {
		r.Lab = Lab{Beats: 600, LongestStopMs: 3012, StoppedAtSecond: 12}
	}, Unknown, "The lab itself stood still for 3012 ms at second 12"},
	{"a lab that was late", func(r *Run) {
		r.Lab = Lab{Beats: 600, LongestStopMs: 480, ClockStepMs: -900}
	}, Pass, ""},
	{"a machine that was suspended", func(r *Run) { r.Lab.ClockStepMs = 3.6e6 }, Unknown,
		"The machine's clock jumped by 3600000 ms"},
	{"a clock that was set back", func(r *Run) { r.Lab.ClockStepMs = -3.6e6 }, Unknown,
		"The machine's clock jumped by -3600000 ms"},
	{"a load of no length", func(r *Run) { r.TestRun.DurationSeconds = 0 }, Unknown,
		"6000 operations in 0 s, 100/s offered, make no rate: the limit rests on nothing."},
	{"a load of no rate", func(r *Run) { r.Summary.Throughput.Offered = 0 }, Unknown,
		"make no rate: the limit rests on nothing."},
	{"a lag that nobody saw", func(r *Run) { r.Lag = Lag{} }, Unknown,
		"The consumer's lag was not seen during the load: the limit rests on nothing."},
	{"a threshold on nothing", func(r *Run) {
		r.Thresholds.Unmeasured = []string{"k6 http_req_duration p(95)<200"}
	}, Unknown, "The threshold k6 http_req_duration p(95)<200 has no sample but 0: the limit "},
	{"nothing outside the faults", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Stages = append(r.Stages, Stage{Stage: E2ESteady})
	}, Unknown, "No write was measured outside the faults: the limit rests on nothing."},
	{"truncated ledger", func(r *Run) { r.Ledger.Truncated = true }, Unknown,
		"The ledger has no end after 6500 writes"},
	{"dropped", func(r *Run) {
		r.Summary.DroppedIterations, r.Summary.Throughput.Mean = 7, 50
	}, Unknown, "The generator dropped 7 iterations"},
	{"drops not known", func(r *Run) { r.Summary.DroppedIterations = -1 }, Unknown,
		"It is not known whether the generator dropped iterations"},
	{"no operations", func(r *Run) { r.Summary.TotalOperations = 0 }, Unknown,
		"Of 0 operations, 0 were measured from end to end."},
	{"nothing seen", func(r *Run) {
		r.Stages = nil
	}, Unknown, "Of 6000 operations, 0 were measured"},
	{"unseen", func(r *Run) { r.Summary.Timeouts, r.Summary.Late = 5, 2 }, Unknown,
		"The tracker never saw 3 acknowledged writes"},
	{"all seen late", func(r *Run) { r.Summary.Timeouts, r.Summary.Late = 5, 5 }, Pass, ""},
	{"untracked", func(r *Run) { r.Tracker.TrackedShare = 0.999 }, Unknown,
		"The tracker watched 99.9 % of the writes, it was set to 100 %."},
	{"sampled on purpose", func(r *Run) {
		r.Tracker.AskedShare, r.Tracker.TrackedShare = 0.1, 0.095
	},
		Pass, ""},
	{"sampled too little", func(r *Run) {
		r.Tracker.AskedShare, r.Tracker.TrackedShare = 0.1, 0.08
	},
		Unknown, "The tracker watched 8 % of the writes, it was set to 10 %."},
	{"starved tracker", func(r *Run) { r.Tracker.SlowestLookMs = 1200 }, Unknown,
		"The tracker was starved: it did not look for 1200 ms"},
	{"saturated", func(r *Run) { r.Generator.LateTicksP99Ms = 6 }, Unknown,
		"The generator was saturated: its own ticks were 6 ms late at p99, at most 5 ms is sound"},
	{"late beside a slow pipeline", func(r *Run) {
		r.Generator.LateTicksP99Ms, r.Summary.Latency.P99 = 45, 4000
	}, Pass, ""},
	{"saturated beside a slow pipeline", func(r *Run) {
		r.Generator.LateTicksP99Ms, r.Summary.Latency.P99 = 51, 4000
	}, Unknown, "51 ms late at p99, at most 50 ms"},
	{"a database that stalls is no saturation", func(r *Run) {
		for i := range r.Stages {
			if r.Stages[i].Stage == ScheduleDelay {
				r.Stages[i].P99, r.Stages[i].Max = 4000, 4000
			}
		}
		r.Generator.QueueMax = 400
	}, Pass, ""},
	{"negative span", func(r *Run) { r.Clock.NegativeSpans = 1 }, Unknown,
		"The clocks cannot be trusted: 1 measured span ended before the beginning."},
	{"endless span", func(r *Run) { r.Clock.ClampedSpans = 2 }, Unknown,
		"2 measured spans were longer than the ten minutes"},
	{"steal", func(r *Run) { r.Host.CPUStealPercent = 12.5 }, Unknown,
		"Other machines took 12.5 % of the processor, at most 10 % is sound."},
	{"a good fault", func(r *Run) { r.Faults = []FaultWindow{steadyFault} }, Pass, ""},
	{"rate and errors under a fault", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Summary.Throughput.Mean, r.Summary.Errors.Rate = 80, 0.2
		r.Summary.Latency = Latency{4000, 5000, 6000, 7000, 4000}
	}, Pass, ""},
	{"slow outside the fault", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Stages = append(r.Stages, Stage{Stage: E2ESteady, Count: 10,
			Latency: Latency{600, 700, 800, 900, 600}})
	}, Fail, "E2e outside faults p50 is 600"},
	{"slow recovery", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Faults[0].RecoveredSeconds = 75
	}, Fail, "Recovery from kill is 75, the limit is < 60 s."},
	{"recovery slower than the plan allows", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Faults[0].RecoveredSeconds, r.Faults[0].RecoveryLimitSeconds = 31, 30
	}, Fail, "Recovery from kill is 31, the limit is < 30 s."},
	{"no recovery", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Faults[0].RecoveredSeconds = -1
	}, Unknown, "It is not known when the pipeline recovered from kill, which was removed at " +
		"second 2."},
	{"seen through a cut", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Faults[0].Cut, r.Faults[0].SeenInside = true, 3
	}, Unknown, "The tracker cannot be trusted: 3 writes were committed and seen while kill of " +
		"consumer let nothing through."},
	{"not applied", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Faults[0].Applied, r.Faults[0].Detail = false, "no such process."
	}, Unknown, "The fault kill was not applied to consumer at second 1: no such process."},
	{"bypassed", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Faults[0].Proxy = "consumer-mongo"
	}, Unknown, "0 bytes went through the proxy consumer-mongo."},
	{"through the proxy", func(r *Run) {
		r.Faults = []FaultWindow{steadyFault}
		r.Faults[0].Proxy, r.Faults[0].ProxyBytes = "consumer-mongo", 1
	}, Pass, ""},
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range judgeCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			run := goodRun(t)
			c.change(run)
			run.addSteady()
			got := Judge(run)
			if got.Status != c.status {
				t.Errorf("got %s %q, want %s", got.Status, got.Reasons, c.status)
			}
			if c.reason == "" && len(got.Reasons) > 0 {
				t.Errorf("got reasons %q, want none", got.Reasons)
			}
			if c.reason != "" && (len(got.Reasons) != 1 ||
				!strings.Contains(got.Reasons[0], c.reason)) {
				t.Errorf("got reasons %q, want only %q", got.Reasons, c.reason)
			}
		})
	}
}

// TestCorruptIsNotOnTheWay: other content at the right version arrives no more.
func TestCorruptIsNotOnTheWay(t *testing.T) {
	t.Parallel()
	run := goodRun(t)
	run.Consistency.Counts[Corrupt], run.Consistency.Counts[Lost] = 1, 3
	run.Consistency.Examples = []Example{{Lost, "order", "1", "nothing is there", nil},
		{Corrupt, "order", "2", "other content", nil}}
	run.Consistency.NotDrained("the consumer is 3 records behind")
	got := Judge(run)
	if got.Status != Fail || !strings.Contains(got.Reasons[0], "1 row or document is corrupt") ||
		!strings.Contains(strings.Join(got.Reasons, ""),
			"3 rows or documents were different, perhaps on the way") {
		t.Errorf("got %+v", got)
	}
	c := run.Consistency
	if c.Examples[0].Status != Pending || c.Examples[1].Status != Corrupt || c.Counts[Lost] != 0 ||
		!strings.Contains(c.Sentence(), "consistency fail: ") ||
		!strings.Contains(c.Sentence(), "pending 3, lost 0") {
		t.Errorf("%s: %+v", c.Sentence(), c)
	}
}

// TestBlindTracker: where the tracker lost sight, a latency beyond the limit may be the tracker's;
// a latency within the limit is within the limit all the more.
func TestBlindTracker(t *testing.T) {
	t.Parallel()
	slow := func(r *Run) { r.Summary.Latency = Latency{600, 600, 600, 600, 600} }
	for name, c := range map[string]struct {
		change func(*Run)
		status Status
		reason string
	}{
		"slow":   {slow, Unknown, "The tracker lost sight of MongoDB 35 times"},
		"sound":  {func(*Run) {}, Pass, ""},
		"errors": {func(r *Run) { r.Summary.Errors = Errors{60, 0.01} }, Fail, "Error rate is 1"},
		"a script's": {func(r *Run) {
			r.Thresholds.Violations = []Violation{{"k6 cdc_e2e_latency_ms", "p(95)<50", 900}}
		}, Unknown, "lost sight of MongoDB 35 times"},
		"lost row": {func(r *Run) { slow(r); r.Consistency.Counts[Lost] = 1 }, Fail, "is lost"},
		"MongoDB was broken on purpose": {func(r *Run) {
			r.Faults = []FaultWindow{steadyFault}
			r.Faults[0].Target = "mongo"
			r.Stages = append(r.Stages, Stage{Stage: E2ESteady, Count: 10,
				Latency: Latency{600, 700, 800, 900, 600}})
		}, Fail, "E2e outside faults p50 is 600"},
	} {
		run := goodRun(t)
		run.Tracker.Errors = 35
		c.change(run)
		got := Judge(run)
		if got.Status != c.status || !strings.Contains(strings.Join(got.Reasons, "\n"), c.reason) {
			t.Errorf("%s: got %+v, want %s %q", name, got, c.status, c.reason)
		}
	}
}

// TestVerdictNamesItsEvidence: be it a pass or a fail.
func TestVerdictNamesItsEvidence(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]*Run{"good": goodRun(t), "chaos": chaosRun(t)} {
		text := strings.Join(run.Verdict.RestsOn, "\n")
		for _, want := range []string{"6000 writes were followed", "of 6000 operations in 60 s",
			"4310 rows were compared with", "after the pipeline had drained",
			"limits were kept: e2e"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q, want %q", name, text, want)
			}
		}
	}
	if on := unmeasuredRun(t).Verdict.RestsOn; !slices.Equal(on, []string{
		"0 writes were followed from the intended time until seen, of 0 operations in 60 s."}) {
		t.Errorf("%q", on)
	}
}

// TestDefiniteFailureStays: whatever else is in doubt, a lost row is lost.
func TestDefiniteFailureStays(t *testing.T) {
	t.Parallel()
	run := goodRun(t)
	run.Consistency.Counts[Lost] = 1
	run.TestRun.Partial = true
	run.Host.CPUStealPercent = 50
	got := Judge(run)
	if got.Status != Fail || len(got.Reasons) != 3 || !strings.Contains(got.Reasons[0], "lost") {
		t.Errorf("got %+v", got)
	}
}

// TestSpoiltThresholds: a spoilt measurement may cross a threshold, which then says nothing of the
// pipeline. A missing part cannot have crossed a threshold.
func TestSpoiltThresholds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		doubt  func(*Run)
		status Status
	}{
		"a part died":       {func(r *Run) { r.TestRun.Partial = true }, Unknown},
		"dropped":           {func(r *Run) { r.Summary.DroppedIterations = 1 }, Unknown},
		"starved tracker":   {func(r *Run) { r.Tracker.SlowestLookMs = 1200 }, Unknown},
		"saturated":         {func(r *Run) { r.Generator.LateTicksP99Ms = 60 }, Unknown},
		"negative span":     {func(r *Run) { r.Clock.NegativeSpans = 1 }, Unknown},
		"busy machine":      {func(r *Run) { r.Host.CPUBusyPercent = 99 }, Unknown},
		"steal":             {func(r *Run) { r.Host.CPUStealPercent = 20 }, Unknown},
		"drops not known":   {func(r *Run) { r.Summary.DroppedIterations = -1 }, Fail},
		"unseen":            {func(r *Run) { r.Summary.Timeouts = 3 }, Fail},
		"endless span":      {func(r *Run) { r.Clock.ClampedSpans = 2 }, Fail},
		"fault not applied": {func(r *Run) { r.Faults = []FaultWindow{{Name: "kill"}} }, Fail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := goodRun(t)
			run.Thresholds.Violations = []Violation{
				{"k6 cdc_e2e_success_rate", "rate>0.999", 0.996}}
			c.doubt(run)
			run.addSteady()
			got := Judge(run)
			if got.Status != c.status || len(got.Reasons) != 2 ||
				!strings.Contains(got.Reasons[0], "success") {
				t.Errorf("got %+v, want %s, with the threshold and the doubt as reasons",
					got, c.status)
			}
		})
	}
}

func TestVerdictMerge(t *testing.T) {
	t.Parallel()
	order := []Status{Pass, Unknown, Fail}
	for i, a := range order {
		for j, b := range order {
			got := Verdict{a, []string{string(a)}, nil}.Merge(Verdict{b, []string{string(b)}, nil})
			want := order[max(i, j)]
			if got.Status != want || got.Reasons[0] != string(want) || len(got.Reasons) != 2 {
				t.Errorf("%s and %s: got %+v", a, b, got)
			}
		}
	}
	if got := (Verdict{Status: Pass}).Merge(Verdict{Status: "nonsense"}); got.Status == Pass {
		t.Error("a status that nobody knows passed")
	}
}

// TestConcludeTwice: a stored run can be judged again and says the same.
func TestConcludeTwice(t *testing.T) {
	t.Parallel()
	run := chaosRun(t)
	run.Thresholds.Violations = []Violation{{"checks", "rate > 0.99", 0.5}}
	run.Faults[0].RecoveredSeconds = 70
	run.Conclude()
	once := *run
	once.Thresholds.Violations = slices.Clone(run.Thresholds.Violations)
	run.Conclude()
	if diff := cmp.Diff(&once, run); diff != "" {
		t.Error(diff)
	}
	if n := len(run.Thresholds.Violations); n != 2 || run.Thresholds.Passed {
		t.Errorf("got %+v, want two violations", run.Thresholds)
	}
}

func TestTrackerWarnings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		tracker Tracker
		want    string
	}{
		{Tracker{BudgetAsked: 0.1, BudgetKept: 0.1}, ""},
		{Tracker{BudgetKept: 0.4}, ""}, // of before there was a budget
		{Tracker{BudgetAsked: 0.1, BudgetKept: 0.44},
			"were 44 % of all that MongoDB did, over their " +
				"budget of 10 %"},
		{Tracker{Errors: 1}, "lost sight of MongoDB 1 time: "},
		{Tracker{Errors: 3, BudgetAsked: 0.6, BudgetKept: 0.5}, "lost sight of MongoDB 3 times: "},
	} {
		run := goodRun(t)
		run.Tracker.Errors, run.Tracker.BudgetAsked, run.Tracker.BudgetKept = test.tracker.Errors,
			test.tracker.BudgetAsked, test.tracker.BudgetKept
		run.Conclude()
		warnings := strings.Join(run.Warnings, "\n")
		if (test.want == "") != (warnings == "") || !strings.Contains(warnings, test.want) {
			t.Errorf("%+v: warnings %q, want %q", test.tracker, warnings, test.want)
		}
		if run.Verdict.Status != Pass {
			t.Errorf("%+v: verdict %s: a warning is no verdict", test.tracker, run.Verdict.Status)
		}
	}
}
