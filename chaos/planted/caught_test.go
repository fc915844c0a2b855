package planted

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/chaos"
	"github.com/cdclab/cdclab/experiments"
	"github.com/cdclab/cdclab/reports"
)

// nightly skips a test that is too long for `./just test`.
func nightly(t *testing.T) {
	t.Helper()
	if os.Getenv("CDCLAB_PLANTED") == "" {
		t.Skip("brings a stack up for each bug, half an hour in all; with CDCLAB_PLANTED=1")
	}
}

// build compiles a wrong program.
func build(t *testing.T, b bug) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), b.Program)
	if text, err := goTool(t, programs[b.Program], "build", "-overlay", overlay(t, b), "-o", path,
		"."); err != nil {
		t.Fatalf("build %s with the bug %q: %v: %s", b.Program, b.Name, err, text)
	}
	return path
}

// run runs the lab under a plan.
func run(t *testing.T, plan string, programs experiments.Programs) *reports.Run {
	t.Helper()
	loaded, err := chaos.Load(plan)
	if err != nil {
		t.Fatal(err)
	}
	c := experiments.DefaultConfig()
	c.Scenario, c.PlanPath, c.Programs = "churn", plan, programs
	c.Stack.Consumers = max(1, loaded.Consumers)
	c.Out, c.FloorWrites, c.DrainTimeout = t.TempDir(), 20, 15*time.Second
	c.Say = func(line string) { t.Log(line) }
	result, err := experiments.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range result.Run.Faults {
		t.Logf("%s %s: %s", w.Name, w.Target, w.Detail)
	}
	return result.Run
}

// evidence returns what the lab found that the bug must leave behind, "" for nothing.
func (b *bug) evidence(r *reports.Run) string {
	for _, status := range b.Caught {
		if r.Consistency.Counts[status] > 0 && r.Verdict.Status == reports.Fail {
			return r.Consistency.Sentence()
		}
	}
	for _, reason := range r.Verdict.Reasons {
		if b.Doubt != "" && strings.Contains(reason, b.Doubt) {
			return reason
		}
	}
	return ""
}

// TestBugsAreCaught: with each bug planted, the lab finds the bug's own evidence under the bug's
// plan. The log has a line of the table in PLANTED.md for each.
func TestBugsAreCaught(t *testing.T) {
	nightly(t)
	for _, b := range bugs(t) {
		t.Run(strings.ReplaceAll(b.Name, " ", "-"), func(t *testing.T) {
			if b.Test != "" {
				b.mustFailTest(t)
				return
			}
			wrong := experiments.Programs{}
			if b.Program == "k6" {
				wrong.K6 = build(t, b)
			} else {
				wrong.Consumer = build(t, b)
			}
			r := run(t, b.Plan, wrong)
			caught := time.Since(r.TestRun.StartTime)
			found := b.evidence(r)
			if found == "" {
				t.Errorf("not caught: %s %q, %s", r.Verdict.Status, r.Verdict.Reasons,
					r.Consistency.Sentence())
			}
			t.Logf("| %s | %s | %.0f | %s |", b.Name, b.Plan, caught.Seconds(), found)
			t.Logf("%s %q", r.Verdict.Status, r.Verdict.Reasons)
		})
	}
}

// mustFailTest runs the test that notices the bug.
func (b *bug) mustFailTest(t *testing.T) {
	t.Helper()
	words := strings.Fields(b.Test)
	pkg, name := words[0], words[1]
	began := time.Now()
	args := []string{"test", "-count=1", "-timeout", "20s", "-run", "^" + name + "$", "-overlay",
		overlay(t, *b), pkg}
	text, err := goTool(t, ".", append(args, words[2:]...)...)
	// A test that waits for ever is named by the panic of its timeout.
	if err == nil || !strings.Contains(string(text), name) {
		t.Errorf("not caught: %v: %s", err, text)
	}
	t.Logf("| %s | %s | %.0f | the test fails |", b.Name, b.Test, time.Since(began).Seconds())
}

// TestRightConsumer: under the plans of the bugs, the right programs leave no wrong row, so that
// each catch is by the bug.
func TestRightConsumer(t *testing.T) {
	nightly(t)
	var plans []string
	for _, b := range bugs(t) {
		if b.Plan != "" && !slices.Contains(plans, b.Plan) {
			plans = append(plans, b.Plan)
		}
	}
	for _, plan := range plans {
		t.Run(plan, func(t *testing.T) {
			r := run(t, plan, experiments.Programs{})
			if !r.Consistency.Checked {
				t.Error(r.Consistency.Sentence())
			}
			for _, b := range bugs(t) {
				if b.Plan == plan && b.evidence(r) != "" {
					t.Errorf("the bug %q is found without the bug: %q", b.Name, r.Verdict.Reasons)
				}
			}
			if r.Verdict.Status == reports.Fail {
				t.Errorf("%q", r.Verdict.Reasons)
			}
			t.Logf("%s: %s %q", plan, r.Verdict.Status, r.Verdict.Reasons)
		})
	}
}
