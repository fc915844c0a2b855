package reports

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// loadOf is a Run of so many seconds at 100/s, looked at once a second, with a gauge of the
// consumer.
func loadOf(name, unit string, capacity float64, values ...float64) *Run {
	r := &Run{TestRun: TestRun{DurationSeconds: float64(len(values))}}
	r.Summary.Throughput.Offered = 100
	for i := range values {
		r.Looks.Seconds = append(r.Looks.Seconds, float64(i))
		r.Series = append(r.Series, Second{Second: i, Offered: 100})
	}
	r.Looks.Gauges = []Gauge{{"consumer", name, unit, capacity, values}}
	return r
}

func repeat(values []float64, times int) (all []float64) {
	for range times {
		all = append(all, values...)
	}
	return all
}

func ramp(from, to float64, n int) (all []float64) {
	for i := range n {
		all = append(all, from+(to-from)*float64(i)/float64(n-1))
	}
	return all
}

func TestLagPatterns(t *testing.T) {
	calm := repeat([]float64{40, 90, 120, 60}, 5)
	for name, c := range map[string]struct {
		values   []float64
		pattern  string
		recovery float64
	}{
		LagSteady:   {calm, LagSteady, 0},
		LagGrowing:  {append(calm, ramp(100, 9000, 60)...), LagGrowing, -1},
		LagSawtooth: {repeat([]float64{20, 900, 1500, 300, 20, 20}, 5), LagSawtooth, 2},
		LagPeak: {append(append(calm, ramp(100, 3000, 10)...),
			append(ramp(3000, 0, 16), calm...)...),
			LagPeak, 15},
	} {
		t.Run(name, func(t *testing.T) {
			l := loadOf(GaugeLag, "", 0, c.values...).lag()
			if !l.Known || l.Pattern != c.pattern || l.RecoverySeconds != c.recovery {
				t.Errorf("got %+v, want %s, recovered after %v s", l, c.pattern, c.recovery)
			}
		})
	}
	if l := loadOf(GaugeMemory, "", 0, calm...).lag(); l.Known {
		t.Errorf("lag of a run that did not look at it: %+v", l)
	}
}

// TestLagRecoveryAfterSpike: recovery counts from the end of the high load, not from the greatest
// lag inside.
func TestLagRecoveryAfterSpike(t *testing.T) {
	r := loadOf(GaugeLag, "", 0, append(append(repeat([]float64{50}, 30), ramp(50, 2000, 20)...),
		append(ramp(2000, 100, 20), repeat([]float64{50}, 30)...)...)...)
	for i := 30; i < 55; i++ {
		r.Series[i].Offered = 500
	}
	if l := r.lag(); l.RecoverySeconds < 10 || l.RecoverySeconds > 15 {
		t.Errorf("%+v, want about 13 s after second 55", l)
	}
}

func TestLagThatDoesNotRecoverFails(t *testing.T) {
	r := goodRun(t)
	r.Looks.Gauges = []Gauge{{"consumer", GaugeLag, "", 0,
		[]float64{0, 50, 5000, 9000, 9000, 9900, 9900, 9900}}}
	r.Conclude()
	if r.Verdict.Status != Fail || !strings.Contains(strings.Join(r.Verdict.Reasons, ""),
		"Consumer lag recovery is 60,") {
		t.Errorf("%+v", r.Verdict)
	}
}

func TestResourceThresholds(t *testing.T) {
	for name, c := range map[string]struct {
		gauge, warning string
		share          float64
		status         Status
	}{
		"calm":               {GaugeMemory, "", 40, Pass},
		"processor, warning": {GaugeCPU, "Processor use of consumer was 89 %", 89, Pass},
		"memory, warning":    {GaugeMemory, "Memory use of consumer was 71 %", 71, Pass},
		"memory, critical":   {GaugeMemory, "Memory use of consumer was 86 %", 86, Fail},
		"connections, warning": {GaugeConnections, "Connections in use of consumer was 81 %",
			81, Pass},
		"connections": {GaugeConnections, "Connections in use of consumer was 96 %",
			96, Fail},
		"disk":                {GaugeDiskBusy, "Disk use of consumer was 81 %", 81, Fail},
		"processor, critical": {GaugeCPU, "Processor use of consumer was 95 %", 95, Fail},
	} {
		t.Run(name, func(t *testing.T) {
			r := goodRun(t)
			r.Looks.Gauges = []Gauge{{"consumer", c.gauge, "", 200,
				repeat([]float64{2 * c.share}, 8)}, lagLooks}
			r.Conclude()
			warned := strings.Join(r.Warnings, "\n")
			if r.Verdict.Status != c.status || (c.warning == "") != (warned == "") ||
				!strings.Contains(warned, c.warning) {
				t.Errorf("%s, warnings %q, want %s and %q",
					r.Verdict.Status, warned, c.status, c.warning)
			}
		})
	}
}

// TestCriticalProcessorUse: the pipeline's parts break the limit, unless the machine was too busy
// to tell; the machine's and the generator's are a warning, and so is everything at the breakpoint.
func TestCriticalProcessorUse(t *testing.T) {
	for name, c := range map[string]struct {
		component        string
		busy, breakpoint float64
		status           Status
	}{
		"consumer": {"consumer", 90, 0, Fail}, "lab": {"lab", 90, 0, Fail},
		"busy": {"consumer", 98, 0, Unknown},
		"host": {"host", 95, 0, Pass}, "generator": {"generator", 95, 0, Pass},
		"breakpoint": {"consumer", 95, 900, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			r := goodRun(t)
			r.Host.CPUBusyPercent, r.Breakpoint.Rate = c.busy, c.breakpoint
			r.Looks.Gauges = []Gauge{{c.component, GaugeCPU, "%", 200, repeat([]float64{186}, 8)},
				lagLooks}
			r.Conclude()
			if warned := strings.Join(r.Warnings, "\n"); r.Verdict.Status != c.status ||
				!strings.Contains(warned, "Processor use of "+c.component+" was 93 %") {
				t.Errorf("%+v, warnings %q, want %s", r.Verdict, warned, c.status)
			}
		})
	}
}

// TestOthersResources: the pipeline's limits are not broken by the generator, nor, where the lab
// did not start the pipeline, by the lab's machine.
func TestOthersResources(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stack, component, gauge string
		status                  Status
	}{
		{"embedded", "host", GaugeDiskBusy, Fail}, {"external", "host", GaugeDiskBusy, Pass},
		{"embedded", "host", GaugeMemory, Fail}, {"external", "host", GaugeMemory, Pass},
		{"embedded", "lab", GaugeMemory, Fail}, {"external", "lab", GaugeMemory, Pass},
		{"external", "lab", GaugeCPU, Pass}, {"external", "consumer", GaugeMemory, Fail},
		{"external", "generator", GaugeMemory, Pass}, {"embedded", "generator", GaugeMemory, Pass},
	} {
		r := goodRun(t)
		r.Provenance.Stack = c.stack
		r.Looks.Gauges = []Gauge{{c.component, c.gauge, "%", 100, repeat([]float64{96}, 8)},
			lagLooks}
		r.Conclude()
		if warned := strings.Join(r.Warnings, "\n"); r.Verdict.Status != c.status ||
			!strings.Contains(warned, c.component+" was 96 %") {
			t.Errorf("%+v: %+v, warnings %q", c, r.Verdict, warned)
		}
	}
}

// TestResourcesOfAFaultsTarget: what a part uses while a fault breaks the part is the fault's
// doing; the use before and after, and every other part's, is judged.
func TestResourcesOfAFaultsTarget(t *testing.T) {
	t.Parallel()
	inside, all := []float64{9, 9, 9, 97, 97, 9, 9, 9}, repeat([]float64{97}, 8)
	for name, c := range map[string]struct {
		component string
		values    []float64
		from, to  float64
		applied   bool
		status    Status
	}{
		"inside":             {"postgres", inside, 25, 40, true, Pass},
		"not applied":        {"postgres", inside, 25, 40, false, Fail},
		"after":              {"postgres", all, 25, 40, true, Fail},
		"other part":         {"mongo", inside, 25, 40, true, Fail},
		"no look is outside": {"postgres", all, -3, 60, true, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			r := goodRun(t)
			r.Faults = []FaultWindow{{Name: "connections-exhausted", Target: "postgres",
				StartSeconds: c.from, EndSeconds: c.to, Applied: c.applied}}
			r.Looks.Gauges = []Gauge{{c.component, GaugeConnections, "", 100, c.values}, lagLooks}
			got := Pass
			for _, l := range r.Limits() {
				if l.Name != "connections in use of "+c.component {
					continue
				}
				if c.to == 60 {
					t.Errorf("%+v, of no look", l)
				}
				if !l.OK {
					got = Fail
				}
			}
			if got != c.status {
				t.Errorf("%s, want %s: %+v", got, c.status, r.Limits())
			}
		})
	}
}

func TestBusyMachineIsUnknown(t *testing.T) {
	r := goodRun(t)
	r.Host.CPUBusyPercent = 98
	r.Conclude()
	if r.Verdict.Status != Unknown || !strings.Contains(r.Verdict.Reasons[0],
		"too busy to measure on: 98 %") {
		t.Errorf("%+v", r.Verdict)
	}
}

// TestGrowth: the interval holds the planted slope in about 95 of 100 runs, also with noise whose
// neighbours are alike, and a level heap is not reported as growing.
func TestGrowth(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const runs, n = 400, 1200
	for _, planted := range []float64{0, 12} {
		held := 0
		for range runs {
			var seconds, values []float64
			noise := 0.0
			for i := range n {
				noise = 0.8*noise + random.NormFloat64()
				seconds = append(seconds, float64(i*6))
				values = append(values, 100+planted*float64(i*6)/3600+noise)
			}
			got, ok := fitGrowth(seconds, values)
			if !ok || math.Abs(got.Mean-100-planted) > 2 {
				t.Fatalf("%+v, %t", got, ok)
			}
			if got.Low <= planted && planted <= got.High {
				held++
			}
		}
		if held < runs*91/100 || held == runs {
			t.Errorf("slope %v was within the interval in %d of %d runs, want about 95 %%",
				planted, held, runs)
		}
	}
}

func TestGrowthFailsASoak(t *testing.T) {
	gauge := func(name string, of, perHour, seconds float64) *Run {
		r := goodRun(t)
		r.TestRun.DurationSeconds = seconds
		r.Looks = Looks{Gauges: []Gauge{{Component: "consumer", Name: name},
			{Component: "consumer", Name: GaugeLag, Values: make([]float64, 600)}}}
		for i := range 600 {
			at := float64(i) * seconds / 600
			r.Looks.Seconds = append(r.Looks.Seconds, at)
			r.Looks.Gauges[0].Values = append(r.Looks.Gauges[0].Values,
				of*(1+perHour*at/3600+0.003*float64(i%7)))
		}
		r.Conclude()
		return r
	}
	grown := func(perHour float64) *Run { return gauge(GaugeHeap, 30e6, perHour, 7200) }
	if r := grown(0.001); len(r.Growths) != 1 || r.Verdict.Status != Pass {
		t.Errorf("level: %+v, %+v", r.Growths, r.Verdict)
	}
	r := grown(0.3)
	if r.Verdict.Status != Fail || !strings.Contains(r.Verdict.Reasons[0],
		"Growth of consumer heap an hour") {
		t.Errorf("growing: %+v, %+v", r.Growths, r.Verdict)
	}
	// A pool with 0.2 connections in use, and 0.03 more after an hour, loses none; a pool with 4
	// and then 6 does.
	if r := gauge(GaugeConnections, 0.2, 0.15, 7200); len(r.Growths) != 1 ||
		r.Verdict.Status != Pass {
		t.Errorf("connections: %+v, %+v", r.Growths, r.Verdict)
	}
	if r := gauge(GaugeConnections, 4, 0.5, 7200); r.Verdict.Status != Fail {
		t.Errorf("leaked connections: %+v, %+v", r.Growths, r.Verdict)
	}
	// In 20 minutes a bounded memory of rows grows like a leak; in an hour the memory does not.
	r = gauge(GaugeHeap, 30e6, 0.3, 1200)
	if r.Verdict.Status != Pass || len(r.Growths) != 1 {
		t.Errorf("short: %+v, %+v", r.Growths, r.Verdict)
	}
	if r := gauge(GaugeHeap, 30e6, 0.3, 3600); r.Verdict.Status != Fail {
		t.Errorf("an hour: %+v, %+v", r.Growths, r.Verdict)
	}
}

// TestUnknownLastSample: a part silent at the last sample keeps no run from being stored.
func TestUnknownLastSample(t *testing.T) {
	t.Parallel()
	run := goodRun(t)
	run.Looks = Looks{Seconds: []float64{0, 1},
		Gauges: []Gauge{{Component: "mongo", Name: GaugeConnections, Values: []float64{3, -1}}}}
	if err := run.Validate(); err != nil {
		t.Error(err)
	}
	run.Looks.Gauges[0].Values[0] = -2
	if err := run.Validate(); err == nil || !strings.Contains(err.Error(),
		"looks.gauges[0].values[0]: got -2") {
		t.Errorf("%v, want the sample that is wrong", err)
	}
}
