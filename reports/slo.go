package reports

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cdclab/cdclab/reports/limit"
	"github.com/cdclab/cdclab/reports/unit"
)

// Limit is a limit with the measured value.
type Limit struct {
	Name, Wanted string
	Value        float64
	Unit         string
	OK           bool
}

// Limits returns the limits of the Run. The limits on latency, errors and rate are for normal load:
// with faults, latency counts only outside the faults, a part's resources only outside the faults
// of that part, errors and rate are not judged, and the recovery is. The achieved rate is not
// judged when the generator itself offered less.
func (r *Run) Limits() []Limit {
	var all []Limit
	below := func(name string, value, most float64, unit string) {
		all = append(all, Limit{name, fmt.Sprintf("< %g%s", most, unit), value, unit, value < most})
	}
	if r.Summary.TotalOperations == 0 {
		return nil
	}
	steady, name := r.Summary.Latency, "e2e"
	measured := r.Measured()
	if len(r.Faults) > 0 {
		row, ok := r.StageOf(E2ESteady, "", "")
		steady, name, measured = row.Latency, "e2e outside faults", ok
	}
	if measured {
		below(name+" p50", steady.P50, limit.P50Ms, " ms")
		below(name+" p95", steady.P95, limit.P95Ms, " ms")
		below(name+" p99", steady.P99, limit.P99Ms, " ms")
	}
	for _, f := range r.Faults {
		if f.RecoveredSeconds >= 0 {
			below("recovery from "+f.Name, f.RecoveredSeconds,
				cmp.Or(f.RecoveryLimitSeconds, limit.RecoverySeconds), " s")
		}
	}
	resources, _ := r.resourceLimits()
	all = append(append(all, resources...), r.growthLimits()...)
	if len(r.Faults) > 0 {
		return all
	}
	if l := r.Lag; l.Known {
		recovery := l.RecoverySeconds
		if n := len(r.Looks.Seconds); recovery < 0 && n > 0 { // none until the last look was taken
			recovery = max(limit.RecoverySeconds, r.Looks.Seconds[n-1]-l.MaxSecond)
		}
		below("consumer lag recovery", recovery, limit.RecoverySeconds, " s")
	}
	below("error rate", 100*r.Summary.Errors.Rate, 100*limit.ErrorRate, " %")
	t := r.Summary.Throughput
	if t.Offered > 0 && r.Summary.DroppedIterations <= 0 && r.Load.SilentIterations <= 0 &&
		!r.TestRun.Partial {
		achieved := t.Mean / t.Offered
		all = append(all, Limit{"achieved rate",
			fmt.Sprintf(">= %g %% of offered", 100*limit.Achieved),
			100 * achieved, " %", achieved >= limit.Achieved})
	}
	return all
}

// Measured returns true if at least one write was followed from its intended time until seen.
func (r *Run) Measured() bool {
	_, ok := r.StageOf(E2E, "", "")
	return ok && r.Summary.TotalOperations > 0
}

// CheckThresholds returns the violations already in the Run, from k6 for example, and after them
// the crossed limits of the specification: latency, error rate, achieved rate, recovery.
func CheckThresholds(r *Run) Thresholds {
	all := []Violation{}
	ours := r.Limits()
	for _, v := range r.Thresholds.Violations {
		if !slices.ContainsFunc(ours, func(l Limit) bool { return l.Name == v.Name }) {
			all = append(all, v)
		}
	}
	for _, l := range ours {
		if !l.OK {
			all = append(all, Violation{Name: l.Name, Limit: l.Wanted, Value: l.Value})
		}
	}
	return Thresholds{Passed: len(all) == 0, Violations: all,
		Unmeasured: r.Thresholds.Unmeasured}
}

// use is a gauge with the limits of its share of a capacity.
type use struct {
	gauge, what string
	limit.Use
}

var uses = []use{
	{GaugeCPU, "processor use", limit.CPU},
	{GaugeMemory, "memory use", limit.Memory},
	{GaugeDiskBusy, "disk use", limit.Disk},
	{GaugeConnections, "connections in use", limit.Connections},
}

// resourceLimits are the gauges with a capacity, each against its critical share.
func (r *Run) resourceLimits() (limits []Limit, warnings []string) {
	for _, u := range uses {
		for i := range r.Looks.Gauges {
			g := &r.Looks.Gauges[i]
			if g.Name != u.gauge || g.Capacity <= 0 {
				continue
			}
			values := r.notBroken(g)
			if len(values) == 0 {
				continue
			}
			share := 100 * sustained(values) / g.Capacity
			name := u.what + " of " + g.Component
			if r.judgesUse(u.gauge, g.Component) {
				limits = append(limits, Limit{name, fmt.Sprintf("< %g %%", u.Critical), share, " %",
					share < u.Critical})
			}
			if share >= u.Warning {
				warnings = append(warnings,
					fmt.Sprintf("%s was %s %% for a tenth of the time or more; %g %% "+
						"is worth a warning, %g %% is critical", capital(name), unit.Number(share),
						u.Warning, u.Critical))
			}
		}
	}
	return limits, warnings
}

// notBroken are a gauge's values during the load, without the values while a fault broke the
// component of the gauge: connections-exhausted takes the connections itself.
func (r *Run) notBroken(g *Gauge) (values []float64) {
	seconds, all := r.DuringLoad(g)
	for i, at := range seconds {
		if !slices.ContainsFunc(r.Faults, func(f FaultWindow) bool {
			return f.Applied && f.Target == g.Component &&
				f.StartSeconds <= at && at <= f.EndSeconds
		}) {
			values = append(values, all[i])
		}
	}
	return values
}

// judgesUse returns true if a component's use of a gauge can break the limit. The generator's is a
// warning only, because the generator is no part of the pipeline, and beside an external pipeline
// the same holds for the lab and its machine. The machine's processor use is a warning only, too:
// two cores with the pipeline, its databases and the generator are at 88 % in sound runs of the
// native stack, and in a short run a single look is a tenth of all. Beyond 97 % the machine makes
// the Run unknown (hostDoubts). At the breakpoint the machine is the part that broke.
func (r *Run) judgesUse(gauge, component string) bool {
	switch component {
	case "generator":
		return false
	case "host", "lab":
		if r.Provenance.Stack == externalStack || component == "host" && gauge == GaugeCPU {
			return false
		}
	}
	return gauge != GaugeCPU || r.Breakpoint.Rate == 0
}

// externalStack is the kind of a pipeline that the lab did not start.
const externalStack = "external"
