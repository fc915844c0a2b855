package reports

import "fmt"

// trackerWarnings are what the tracker did to its own measurement.
func (r *Run) trackerWarnings() (warnings []string) {
	t := &r.Tracker
	if t.Errors > 0 {
		warnings = append(warnings, fmt.Sprintf("The tracker lost sight of MongoDB %s: what was written meanwhile was seen "+
			"too late", plural(t.Errors, "time", "times")))
	}
	if t.BudgetAsked > 0 && t.BudgetKept > t.BudgetAsked {
		warnings = append(warnings, fmt.Sprintf("The tracker's commands were %s %% of all that MongoDB did, over their "+
			"budget of %s %%: they may have slowed down what they measure", number(100*t.BudgetKept), number(100*t.BudgetAsked)))
	}
	return warnings
}
