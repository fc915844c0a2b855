package impact

import (
	"fmt"
	"math"

	"github.com/cdclab/cdclab/reports"
)

// Expected is what a plan expects of a Run; 0 expects nothing.
type Expected struct {
	// P95Ms bounds the e2e p95 outside of the faults: the hypothesis about the steady state.
	P95Ms float64
	// SteadySeconds bounds Impact.SteadySeconds, and Degradation bounds Impact.Degradation, of each
	// fault that was applied.
	SteadySeconds, Degradation float64
	// SteadyLag bounds the committed and unseen writes at the end of each second that no fault
	// touches, Lag bounds Impact.MaxLag of each fault that was applied.
	SteadyLag, Lag int64
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
	lag, known := steadyLag(r, all)
	judge("lag of the steady state", lag, float64(e.SteadyLag), " writes", known)
	if all == nil {
		judge("steady state after the faults", 0, e.SteadySeconds, " s", false)
		judge("degradation under the faults", 0, e.Degradation, " times", false)
		judge("lag under the faults", 0, float64(e.Lag), " writes", false)
	}
	for _, i := range all {
		if !i.Applied {
			continue // the verdict is unknown for that reason
		}
		of := i.Fault + " of " + i.Target
		judge("steady state after "+of, i.SteadySeconds, e.SteadySeconds, " s",
			i.SteadySeconds >= 0)
		judge("degradation under "+of, i.Degradation, e.Degradation, " times", true)
		judge("lag under "+of, float64(i.MaxLag), float64(e.Lag), " writes", true)
	}
	return broken, unmeasured
}

// steadyLag is the greatest lag of the seconds that no fault touches, from the fault's begin until
// the steady state; known is false for a Run without such a second.
func steadyLag(r *reports.Run, all []Impact) (lag float64, known bool) {
	for _, s := range r.Series {
		touched := s.Offered == 0
		for i, one := range all {
			f := r.Faults[i]
			until := math.Inf(1)
			if one.SteadySeconds >= 0 {
				until = f.EndSeconds + max(one.SteadySeconds, f.RecoveredSeconds)
			}
			touched = touched || float64(s.Second+1) > f.StartSeconds && float64(s.Second) < until
		}
		if !touched {
			lag, known = max(lag, float64(s.Outstanding)), true
		}
	}
	return lag, known && len(all) > 0
}
