package cdc

import (
	"math"
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
func intended(state *lib.State, scenario *lib.ScenarioState, now time.Time) time.Time {
	if state.GetScenarioGlobalVUIter == nil {
		return now
	}
	offset, ok := dueAfter(state.Options.Scenarios[scenario.Name], state.GetScenarioGlobalVUIter())
	if !ok {
		return now
	}
	return scenario.StartTime.Add(offset)
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
