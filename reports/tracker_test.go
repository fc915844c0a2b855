package reports

import (
	"strings"
	"testing"
)

func TestTrackerWarnings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		tracker Tracker
		want    string
	}{
		{Tracker{BudgetAsked: 0.1, BudgetKept: 0.1}, ""},
		{Tracker{BudgetKept: 0.4}, ""}, // of before there was a budget
		{Tracker{BudgetAsked: 0.1, BudgetKept: 0.44}, "were 44 % of all that MongoDB did, over their budget of 10 %"},
		{Tracker{Errors: 1}, "lost sight of MongoDB 1 time: "},
		{Tracker{Errors: 3, BudgetAsked: 0.6, BudgetKept: 0.5}, "lost sight of MongoDB 3 times: "},
	} {
		run := goodRun(t)
		run.Tracker.Errors, run.Tracker.BudgetAsked, run.Tracker.BudgetKept = test.tracker.Errors, test.tracker.BudgetAsked, test.tracker.BudgetKept
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
