package experiments

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// TestPlanOnExternal: a person's commands break a part of a pipeline that the lab did not start,
// and the run has the proof and loses nothing.
func TestPlanOnExternal(t *testing.T) {
	if testing.Short() {
		t.Skip("brings a stack up and runs k6; left out by -short")
	}
	held := begin(t, smoke(t, 0, 0))
	consumer, err := held.stack.Component(stack.Consumer)
	if err != nil {
		t.Fatal(err)
	}
	pid, rate := consumer.PIDs()[0], 40
	if held.stack.MongoKind() == stack.SecantusPy {
		rate = 10
	}
	c := onExternal(t, held)
	c.Rate, c.Duration = &rate, new(9*time.Second)
	c.Stack.External.ConsumerMetricsURLs = held.stack.Endpoints().ConsumerMetricsURLs
	c.Stack.External.MayBreak = "paused"
	c.PlanPath = writePlan(t, fmt.Sprintf(`name: paused
steady-state: {recovery: 10s}
method:
  - {at: 2s, fault: command, target: consumer, for: 2s, do: kill -STOP %[1]d,
     proof: "ps -o state= -p %[1]d | grep T", undo: kill -CONT %[1]d}
`, pid))
	result, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	run := result.Run
	if len(run.Faults) != 1 || !run.Faults[0].Applied ||
		!strings.Contains(run.Faults[0].Detail, "proof succeeds: T") {
		t.Errorf("faults %+v", run.Faults)
	}
	if run.Verdict.Status != reports.Pass || run.Consistency.Counts[reports.OK] == 0 {
		t.Errorf("%s %q, %s", run.Verdict.Status, run.Verdict.Reasons, run.Consistency.Sentence())
	}
}
