package cdc

import (
	"testing"
	"time"

	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/executor"
	"go.k6.io/k6/lib/types"
	"gopkg.in/guregu/null.v3"
)

func constantRate(rate int64, unit time.Duration) *executor.ConstantArrivalRateConfig {
	config := executor.NewConstantArrivalRateConfig("load")
	config.Rate, config.TimeUnit = null.IntFrom(rate), types.NullDurationFrom(unit)
	return config
}

func TestDueConstant(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rate int64
		unit time.Duration
		n    uint64
		want time.Duration
	}{
		{100, time.Second, 0, 0},
		{100, time.Second, 1, 10 * time.Millisecond},
		{100, time.Second, 29_999, 299_990 * time.Millisecond},
		// k6's period is a whole number of nanoseconds, cut off and not rounded.
		{3, time.Second, 3, 999_999_999 * time.Nanosecond},
		{7, time.Minute, 1, 8_571_428_571 * time.Nanosecond},
		{1, time.Hour, 2, 2 * time.Hour},
	} {
		got, ok := dueAfter(constantRate(test.rate, test.unit), test.n)
		if !ok || got != test.want {
			t.Errorf("%d per %v, iteration %d: due after %v, %v, want %v", test.rate, test.unit,
				test.n, got, ok, test.want)
		}
	}
	if _, ok := dueAfter(constantRate(0, time.Second), 1); ok {
		t.Error("a rate of 0 has a schedule")
	}
}

// The figures are from k6's own TestRampingArrivalRateCal, in milliseconds.
func TestDueRamping(t *testing.T) {
	t.Parallel()
	stage := func(length time.Duration, target int64) executor.Stage {
		return executor.Stage{Duration: types.NullDurationFrom(length),
			Target: null.IntFrom(target)}
	}
	config := executor.NewRampingArrivalRateConfig("ramp")
	config.Stages = []executor.Stage{stage(5*time.Second, 1), stage(time.Second, 1),
		stage(5*time.Second, 0)}
	for _, test := range []struct {
		unit time.Duration
		want []int64
	}{
		{time.Second, []int64{3162, 4472, 5500, 6527, 7837, 11000}},
		{time.Second / 3, []int64{
			1825, 2581, 3162, 3651, 4082, 4472, 4830, 5166, 5499, 5833, 6169, 6527, 6917, 7348,
			7837, 8418, 9174, 10999,
		}},
	} {
		config.TimeUnit = types.NullDurationFrom(test.unit)
		for n, want := range test.want {
			got, ok := dueAfter(config, uint64(n))
			if !ok || got.Milliseconds() < want-1 || got.Milliseconds() > want+1 {
				t.Errorf("unit %v, iteration %d: due after %v, %v, want %d ms", test.unit, n, got,
					ok, want)
			}
		}
		if got, ok := dueAfter(config, uint64(len(test.want))); ok {
			t.Errorf("unit %v: iteration %d is due after %v, but the schedule is over", test.unit,
				len(test.want), got)
		}
	}
}

func TestIntended(t *testing.T) {
	t.Parallel()
	start := time.Now()
	late := start.Add(3 * time.Second)
	state := &lib.State{GetScenarioGlobalVUIter: func() uint64 { return 50 }}
	state.Options.Scenarios = lib.ScenarioConfigs{
		"load": constantRate(100, time.Second), "loop": executor.NewConstantVUsConfig("loop"),
	}
	for name, want := range map[string]time.Time{
		"load":    start.Add(500 * time.Millisecond),
		"loop":    late,
		"unknown": late,
	} {
		if got := new(origins).intended(state, &lib.ScenarioState{Name: name, StartTime: start},
			late); !got.Equal(want) {
			t.Errorf("%s: intended %v after the start, want %v", name, got.Sub(start),
				want.Sub(start))
		}
	}
}

// A ramp with a schedule that began 30 ms after the scenario: the least late iteration shows the
// delay.
func TestIntendedOfARamp(t *testing.T) {
	t.Parallel()
	config := executor.NewRampingArrivalRateConfig("ramp")
	config.StartRate, config.TimeUnit = null.IntFrom(100), types.NullDurationFrom(time.Second)
	config.Stages = []executor.Stage{{Duration: types.NullDurationFrom(time.Minute),
		Target: null.IntFrom(100)}}
	start := time.Now()
	scenario := &lib.ScenarioState{Name: "ramp", StartTime: start}
	var known origins
	for _, step := range []struct {
		iteration             uint64
		startedMs, intendedMs int
	}{
		{0, 42, 42}, // due at 40, but nothing is known before the first
		{1, 51, 51},
		{2, 61, 61},
		{3, 70, 70},
		{4, 95, 80}, // 15 ms late
		{0, 5, 10},  // nothing is due before the scenario starts
	} {
		state := &lib.State{GetScenarioGlobalVUIter: func() uint64 { return step.iteration }}
		state.Options.Scenarios = lib.ScenarioConfigs{"ramp": config}
		at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
		if got := known.intended(state, scenario,
			at(step.startedMs)); !got.Equal(at(step.intendedMs)) {
			t.Errorf("iteration %d, started at %d ms: intended at %v, want %d ms",
				step.iteration, step.startedMs, got.Sub(start), step.intendedMs)
		}
	}
}
