package reports

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(base, head *Run)
		status Status
		reason string
	}{
		{"the same", func(_, _ *Run) {}, Pass, ""},
		{"a little slower", func(_, head *Run) { slower(head, E2E, 1.3, 1.3) }, Pass, ""},
		{"the tail alone", func(_, head *Run) { slower(head, E2E, 1, 9) }, Pass, ""},
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
		}, Unknown, "The machine differs: 5f2b6c01aa30 (Example CPU @ 2.8 GHz, 2 cores) in the base"},
		{"another stack", func(_, head *Run) { head.Provenance.Stack = "native" }, Unknown,
			"The stack differs: embedded in the base, native in the head."},
		{"another MongoDB", func(_, head *Run) { head.Provenance.MongoKind = "mongod" }, Unknown, "MongoDB server"},
		{"a disk", func(_, head *Run) { head.Provenance.Tmpfs = false }, Unknown, "data on tmpfs"},
		{"another tracker", func(_, head *Run) { head.Tracker.Kind = "poll" }, Unknown, "tracker"},
		{"another rate", func(_, head *Run) { head.Provenance.Config["rate"] = "200" }, Unknown,
			"The configuration rate differs: 100 in the base, 200 in the head."},
		{"one more setting", func(_, head *Run) { head.Provenance.Config["plan"] = "x" }, Unknown,
			"The configuration plan differs: none in the base, x in the head."},
		{"another schema", func(base, _ *Run) { base.SchemaVersion = 0 }, Unknown, "schema version"},
		{"another scenario", func(_, head *Run) { head.TestRun.Scenario = "spike" }, Unknown, "scenario"},
		{"a fault", func(_, head *Run) {
			head.Faults = []FaultWindow{{Name: "kill", Applied: true}}
		}, Unknown, "The list of faults differs: none in the base, kill in the head."},
		{"a base that failed", func(base, _ *Run) { base.Verdict = fail("x") }, Unknown, "The verdict of the base is fail."},
		{"a head in doubt", func(_, head *Run) { head.Verdict = unknown("x") }, Unknown, "The verdict of the head is unknown."},
		{"a head that failed", func(_, head *Run) { head.Verdict = fail("x") }, Pass, ""},
		{"nothing measured", func(_, head *Run) { head.Stages = nil }, Unknown, "A run has no e2e latency."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base, head := goodRun(t), goodRun(t)
			c.change(base, head)
			got := Compare(base, head)
			if got.Verdict.Status != c.status || c.reason == "" && len(got.Verdict.Reasons) > 0 ||
				c.reason != "" && !strings.Contains(strings.Join(got.Verdict.Reasons, "\n"), c.reason) {
				t.Errorf("got %+v, want %s %q", got.Verdict, c.status, c.reason)
			}
			if len(got.Metrics) != len(metrics) {
				t.Errorf("got %d metrics: the numbers are always shown", len(got.Metrics))
			}
		})
	}
}

// TestCompareWarns: what may explain a change and forbids nothing is said.
func TestCompareWarns(t *testing.T) {
	t.Parallel()
	base, head := goodRun(t), goodRun(t)
	head.Provenance.StackVersions["postgres"] = "17.3"
	head.Provenance.ScenarioSHA256 = "changed"
	head.Provenance.GoVersion = "go1.27"
	slower(head, E2E, 1.2, 1.2)
	got := Compare(base, head)
	if !got.Comparable || len(got.Warnings) != 3 {
		t.Errorf("got comparable %t, warnings %q", got.Comparable, got.Warnings)
	}
	var text bytes.Buffer
	if err := got.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", text.Bytes())

	head.Provenance.Host.Fingerprint = "other"
	text.Reset()
	if err := Compare(base, head).WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare-other-machine.txt", text.Bytes())
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	dir, run := t.TempDir(), goodRun(t)
	var missing *NoBaselineError
	_, err := LoadBaseline(dir, "embedded", "baseline")
	if !errors.As(err, &missing) || !errors.Is(err, fs.ErrNotExist) || missing.Scenario != "baseline" {
		t.Errorf("got %v, want a NoBaselineError", err)
	}
	for range 2 { // the second replaces the first
		path, err := SaveBaseline(dir, run)
		if err != nil || path != filepath.Join(dir, "embedded", "baseline.json") {
			t.Fatalf("got %q, %v", path, err)
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "embedded"))
	if err != nil || len(files) != 1 {
		t.Errorf("got files %v, %v: want the baseline alone", files, err)
	}
	got, err := LoadBaseline(dir, "embedded", "baseline")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(encoded(t, run), encoded(t, got)); diff != "" {
		t.Error(diff)
	}
}

func TestBaselineRefuses(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Run){
		"the verdict of run baseline-20261122-075547 is unknown: x": func(r *Run) { r.Verdict = unknown("x") },
		"is fail: 1 row or document is lost":                        func(r *Run) { r.Consistency.Counts[Lost] = 1 },
		`"../x" cannot be a file name`:                              func(r *Run) { r.TestRun.Scenario = "../x" },
		`"" cannot be a file name`:                                  func(r *Run) { r.Provenance.Stack = "" },
	} {
		dir, run := t.TempDir(), goodRun(t)
		change(run)
		_, err := SaveBaseline(dir, run)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if files, _ := os.ReadDir(dir); len(files) != 0 {
			t.Errorf("%s: it left %v", want, files)
		}
	}
	dir := t.TempDir()
	path, err := SaveBaseline(dir, goodRun(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadBaseline(dir, "embedded", "baseline"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}
