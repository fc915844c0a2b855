package cdc

import (
	"math"
	"sync"
	"time"

	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/executor"
)

// intended is when k6's schedule wanted the iteration of the VU to start. For an arrival-rate
// scenario that is arithmetic on its options, so it holds even when k6 itself ran late; any other
// scenario has no schedule of its own, and an iteration is due when it starts: now.
//
// k6 counts the iterations that it started, not the ticks of its schedule: every iteration that it
// dropped makes the later ones look due one tick too early. A run with dropped iterations is void
// for that reason too.
func (o *origins) intended(state *lib.State, scenario *lib.ScenarioState, now time.Time) time.Time {
	if state.GetScenarioGlobalVUIter == nil {
		return now
	}
	config := state.Options.Scenarios[scenario.Name]
	offset, ok := dueAfter(config, state.GetScenarioGlobalVUIter())
	if !ok {
		return now
	}
	if _, ramping := config.(*executor.RampingArrivalRateConfig); ramping {
		return o.earliest(scenario, now.Add(-offset)).Add(offset)
	}
	return scenario.StartTime.Add(offset)
}

// origins remembers when the schedule of each ramping scenario began: k6 starts it only when all
// its VUs are awake, tens of milliseconds after the scenario's start time, and does not say when.
// No iteration starts early, so the one that was least late tells best.
type origins struct {
	mu     sync.Mutex
	origin map[*lib.ScenarioState]time.Time
}

// earliest is the best guess so far, given that the schedule began at the candidate or before.
func (o *origins) earliest(scenario *lib.ScenarioState, candidate time.Time) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if candidate.Before(scenario.StartTime) {
		candidate = scenario.StartTime
	}
	known, ok := o.origin[scenario]
	if ok && !candidate.Before(known) {
		return known
	}
	if o.origin == nil {
		o.origin = map[*lib.ScenarioState]time.Time{}
	}
	o.origin[scenario] = candidate
	return candidate
}

// dueAfter is how long after the start of its scenario iteration n, counted from 0, is due; false
// where the scenario has no schedule or the schedule has no iteration n.
func dueAfter(config lib.ExecutorConfig, n uint64) (time.Duration, bool) {
	switch config := config.(type) {
	case *executor.ConstantArrivalRateConfig:
		return dueConstant(config.Rate.Int64, config.TimeUnit.TimeDuration(), n)
	case *executor.RampingArrivalRateConfig:
		return dueRamping(config, n)
	}
	return 0, false
}

// dueConstant is the schedule of lib/executor/constant_arrival_rate.go: the first iteration at 0,
// then one each period, which is a whole number of nanoseconds.
func dueConstant(rate int64, unit time.Duration, n uint64) (time.Duration, bool) {
	if rate <= 0 || unit <= 0 {
		return 0, false
	}
	period := time.Duration(float64(unit) / float64(rate))
	return time.Duration(n) * period, true
}

// dueRamping is the schedule of lib/executor/ramping_arrival_rate.go (cal): the first iteration
// comes when the area under the rate has reached 1, iteration n when it has reached n+1.
func dueRamping(config *executor.RampingArrivalRateConfig, n uint64) (time.Duration, bool) {
	unit := float64(config.TimeUnit.Duration)
	if unit <= 0 {
		return 0, false
	}
	wanted := float64(n + 1)
	from := float64(config.StartRate.Int64) / unit
	var start time.Duration
	var before float64
	for _, stage := range config.Stages {
		to, length := float64(stage.Target.Int64)/unit, float64(stage.Duration.Duration)
		after := before + length*((to-from)/2+from)
		if wanted <= after {
			if from == to {
				return start + time.Duration((wanted-before)/to), true
			}
			root := math.Sqrt(max(0, length*(from*from*length+2*(wanted-before)*(to-from))))
			return start + time.Duration((from*length-root)/(from-to)), true
		}
		before, from = after, to
		start += stage.Duration.TimeDuration()
	}
	return 0, false
}
