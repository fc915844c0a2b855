package reports

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// slower multiplies every percentile of a stage for all entities and operations.
func slower(r *Run, stage string, p50, p95 float64) {
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Stage == stage && s.Entity == "" {
			s.P50, s.P95, s.P99, s.Max = s.P50*p50, s.P95*p95, s.P99*p95, s.Max*p95
		}
	}
	r.Conclude()
}

// compareCases change one of two sound runs of the same load.
var compareCases = []struct {
	name   string
	change func(base, head *Run)
	status Status
	reason string
}{
	{"the same", func(_, _ *Run) {}, Pass, ""},
	{"a little slower", func(_, head *Run) { slower(head, E2E, 1.3, 1.3) }, Pass, ""},
	{"the tail alone", func(_, head *Run) { slower(head, E2E, 1, 9) }, Unknown,
		"by a stall or by a regression: e2e p95 3 -> 26.8 ms (+800 %)"},
	{"the tail alone, beyond every noise", func(_, head *Run) { slower(head, E2E, 1, 40) },
		Fail, "The head is far worse: e2e p95 3 -> 119 ms (+3900 %)."},
	{"the middle alone", func(base, head *Run) {
		slower(base, E2E, 1, 100)
		slower(head, E2E, 40, 100)
	}, Fail, "The head is far worse: e2e p50 2.2 -> 87.6 ms (+3900 %)."},
	{"from nothing", func(base, head *Run) {
		slower(base, E2E, 0, 1)
		slower(head, E2E, 100, 100)
	}, Fail, "The head is grossly slower: e2e p50 0 -> 219 ms"},
	{"p99 alone", func(_, head *Run) {
		for i := range head.Stages {
			if s := &head.Stages[i]; s.Stage == E2E {
				s.P99, s.Max = 100*s.P99, 100*s.Max
			}
		}
		head.Conclude()
	}, Unknown, "single runs cannot tell which"},
	{"a hundredth of the throughput", func(_, head *Run) {
		head.Summary.Throughput = Throughput{1, 1, 1}
		head.Conclude()
	}, Unknown, "The offered rate differs: 100/s in the base, 1/s in the head."},
	{"a hundredth of the throughput of what was offered", func(_, head *Run) {
		head.Summary.Throughput.Mean = 1
	}, Fail, "The verdict of the head is fail: Achieved rate is 1, the limit is"},
	{"less throughput under a fault", func(base, head *Run) {
		base.Faults, head.Faults = []FaultWindow{steadyFault}, []FaultWindow{steadyFault}
		base.addSteady()
		head.addSteady()
		head.Summary.Throughput.Mean = 40
	}, Fail, "The head is far worse: throughput 100 -> 40 /s (-60 %)."},
	{"errors under a fault", func(base, head *Run) {
		base.Faults, head.Faults = []FaultWindow{steadyFault}, []FaultWindow{steadyFault}
		base.addSteady()
		head.addSteady()
		head.Summary.Errors = Errors{3000, 0.5}
	}, Fail, "The head is far worse: errors 0 -> 50 %"},
	{"a shorter load", func(_, head *Run) { head.TestRun.DurationSeconds = 6 }, Unknown,
		"The length of the load differs: 60 s in the base, 6 s in the head."},
	{"a run with itself", func(base, head *Run) { base.TestRun.ID = head.TestRun.ID }, Unknown,
		"Base and head are one and the same run, baseline-20261122-075547."},
	{"37 lost rows", func(_, head *Run) { head.Consistency.Counts[Lost] = 37 }, Fail,
		"The verdict of the head is fail: 37 rows or documents are lost"},
	{"37 lost rows on another machine", func(_, head *Run) {
		head.Provenance.Host.Fingerprint = "other"
		head.Consistency.Counts[Lost] = 37
	}, Fail, "37 rows or documents are lost"},
	{"a stored pass of nothing", func(_, head *Run) {
		head.Summary.TotalOperations = 0
	}, Unknown, "The verdict of the head is unknown: Of 0 operations"},
	{"twice as fast", func(base, _ *Run) { slower(base, E2E, 2, 2) }, Pass, ""},
	{"half again of little", func(base, head *Run) {
		slower(base, E2E, 0.1, 0.1)
		slower(head, E2E, 0.2, 0.2)
	}, Pass, ""},
	{"grossly slower", func(_, head *Run) { slower(head, E2E, 3, 3) }, Fail,
		"The head is grossly slower: e2e p50 2.2 -> 6.6 ms (+200 %)"},
	{"another machine", func(_, head *Run) {
		head.Provenance.Host.Fingerprint = "other"
		slower(head, E2E, 3, 3)
	}, Unknown,
		"The machine differs: 5f2b6c01aa30 (Example CPU @ 2.8 GHz, 2 cores) in the base"},
	{"another stack", func(_, head *Run) { head.Provenance.Stack = "native" }, Unknown,
		"The stack differs: embedded in the base, native in the head."},
	{"another MongoDB", func(_, head *Run) { head.Provenance.MongoKind = "mongod" }, Unknown,
		"MongoDB server"},
	{"a disk", func(_, head *Run) { head.Provenance.Tmpfs = false }, Unknown, "data on tmpfs"},
	{"another tracker", func(_, head *Run) { head.Tracker.Kind = "poll" }, Unknown, "tracker"},
	{"another rate", func(_, head *Run) { head.Provenance.Config["rate"] = "200" }, Unknown,
		"The configuration rate differs: 100 in the base, 200 in the head."},
	{"one more setting", func(_, head *Run) { head.Provenance.Config["plan"] = "x" }, Unknown,
		"The configuration plan differs: none in the base, x in the head."},
	{"another schema", func(base, _ *Run) {
		base.SchemaVersion = 0
	}, Unknown, "schema version"},
	{"another scenario", func(_, head *Run) {
		head.TestRun.Scenario = "spike"
	}, Unknown, "scenario"},
	{"a fault", func(_, head *Run) {
		head.Faults = []FaultWindow{{Name: "kill", Applied: true}}
	}, Unknown, "The list of faults differs: none in the base, kill in the head."},
	{"a base that failed", func(base, _ *Run) { base.Verdict = fail("x") }, Unknown,
		"The verdict of the base is fail: x"},
	{"a head in doubt", func(_, head *Run) { head.Verdict = unknown("x") }, Unknown,
		"The verdict of the head is unknown: x"},
	{"a head that failed", func(_, head *Run) { head.Verdict = fail("x") }, Fail,
		"The verdict of the head is fail: x"},
	{"nothing measured", func(_, head *Run) { head.Stages = nil }, Unknown,
		"A run has no e2e latency."},
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range compareCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base, head := goodRun(t), goodRun(t)
			base.TestRun.ID = "earlier"
			c.change(base, head)
			got := Compare(base, head)
			if got.Verdict.Status != c.status || c.reason == "" && len(got.Verdict.Reasons) > 0 ||
				c.reason != "" && !strings.Contains(strings.Join(got.Verdict.Reasons, "\n"),
					c.reason) {
				t.Errorf("got %+v, want %s %q", got.Verdict, c.status, c.reason)
			}
			if len(got.Metrics) != len(metrics) {
				t.Errorf("got %d metrics: the numbers are always shown", len(got.Metrics))
			}
		})
	}
}

// TestCompareWarns: a difference that may explain a change and forbids nothing is said.
func TestCompareWarns(t *testing.T) {
	t.Parallel()
	base, head := goodRun(t), goodRun(t)
	base.TestRun.ID = "earlier"
	head.Provenance.StackVersions["postgres"] = "17.3"
	head.Provenance.ScenarioSHA256 = "changed"
	head.Provenance.GoVersion = "go1.27"
	slower(head, E2E, 1.2, 1.2)
	got := Compare(base, head)
	if !got.Comparable || len(got.Warnings) != 3 {
		t.Errorf("got comparable %t, warnings %q", got.Comparable, got.Warnings)
	}
}

// TestFileName: any two names have two file names, each one part of a path, and short.
func TestFileName(t *testing.T) {
	t.Parallel()
	name := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("%/.2F\\\n"))),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 300),
			func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		made := FileName(a)
		if (made == FileName(b)) != (a == b) {
			t.Errorf("%q and %q are %q and %q", a, b, made, FileName(b))
		}
		if len(made) > maxNameBytes || strings.ContainsAny(made, "/\\\x00\n") ||
			strings.HasPrefix(made, ".") || !utf8.ValidString(made) {
			t.Errorf("%q is %q", a, made)
		}
	})
}
