package impact

import (
	"fmt"

	"github.com/cdclab/cdclab/reports"
)

// Expected is what a plan expects of a Run; 0 expects nothing.
type Expected struct {
	// P95Ms bounds the e2e p95 outside of the faults: the hypothesis about the steady state.
	P95Ms float64
	// SteadySeconds bounds Impact.SteadySeconds, and Degradation bounds Impact.Degradation, of each
	// fault that was applied.
	SteadySeconds, Degradation float64
}

// AddTo adds the broken expectations to the Run's crossed thresholds.
func (e Expected) AddTo(r *reports.Run) {
	broken, unmeasured := e.Judge(r)
	r.Thresholds.Violations = append(r.Thresholds.Violations, broken...)
	r.Thresholds.Unmeasured = append(r.Thresholds.Unmeasured, unmeasured...)
}

// Judge returns the broken expectations, and the names of the expectations that the Run does not
// tell about.
func (e Expected) Judge(r *reports.Run) (broken []reports.Violation, unmeasured []string) {
	judge := func(name string, value, most float64, unit string, known bool) {
		switch {
		case most == 0:
		case !known:
			unmeasured = append(unmeasured, name)
		case value > most:
			broken = append(broken, reports.Violation{Name: name,
				Limit: fmt.Sprintf("at most %g%s", most, unit), Value: value})
		}
	}
	steady, known := r.StageOf(reports.E2ESteady, "", "")
	judge("p95 of the steady state", steady.P95, e.P95Ms, " ms", known)
	all := Of(r)
	if all == nil {
		judge("steady state after the faults", 0, e.SteadySeconds, " s", false)
		judge("degradation under the faults", 0, e.Degradation, " times", false)
	}
	for _, i := range all {
		if !i.Applied {
			continue // the verdict is unknown for that reason
		}
		of := i.Fault + " of " + i.Target
		judge("steady state after "+of, i.SteadySeconds, e.SteadySeconds, " s",
			i.SteadySeconds >= 0)
		judge("degradation under "+of, i.Degradation, e.Degradation, " times", true)
	}
	return broken, unmeasured
}
