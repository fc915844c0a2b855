package cdc

import (
	"math"
	"slices"
	"sync"
	"time"

	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/executor"

	"github.com/cdclab/cdclab/ledger"
)

// intended returns the time at which k6's schedule wanted the iteration of the VU to start. An
// arrival-rate scenario's time is arithmetic on the options, and so holds even when k6 itself runs
// late. Any other scenario has no schedule, and an iteration is due when the iteration starts: now.
//
// k6 counts started iterations, not ticks of the schedule: every dropped iteration makes the later
// ones look due one tick too early. A run with dropped iterations is void for this reason too.
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

// origins remembers the beginning of each ramping scenario's schedule, because k6 does not tell: k6
// starts the schedule only when all VUs are awake, tens of milliseconds after the scenario's start
// time. No iteration starts early, so the least late iteration tells best.
type origins struct {
	mu     sync.Mutex
	origin map[*lib.ScenarioState]time.Time
}

// earliest returns the best guess so far, where the schedule began at the candidate or before.
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

// dueAfter returns the due time of iteration n, counted from 0, since the start of the scenario;
// false where the scenario has no schedule or the schedule has no iteration n.
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
// then an iteration each period, which is a whole number of nanoseconds.
func dueConstant(rate int64, unit time.Duration, n uint64) (time.Duration, bool) {
	if rate <= 0 || unit <= 0 {
		return 0, false
	}
	period := time.Duration(float64(unit) / float64(rate))
	return time.Duration(n) * period, true
}

// dueRamping is the schedule of lib/executor/ramping_arrival_rate.go (cal): the first iteration
// comes when the area under the rate has reached 1, iteration n at n+1.
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

// turn is an iteration of one VU.
type turn struct {
	scenario string
	number   int64
}

// turns counts the iterations that ask for writes, by scenario. k6 itself tells nobody how many
// iterations of a scenario did nothing.
type turns struct {
	mu  sync.Mutex
	all []ledger.Scenario
}

// count counts an iteration of a scenario, which started so long after the epoch.
func (t *turns) count(scenario string, start time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.all {
		if t.all[i].Name == scenario {
			t.all[i].Iterations++
			return
		}
	}
	t.all = append(t.all,
		ledger.Scenario{Name: scenario, StartNs: start.Nanoseconds(), Iterations: 1})
}

func (t *turns) scenarios() []ledger.Scenario {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}
