package reports

import "slices"

// Workload is the load as it happened, beside the request for it.
type Workload struct {
	// Model is "open" where iterations start on a schedule, "closed" where an iteration waits for
	// the end of another, "mixed" for scenarios of both.
	Model string `json:"model"`
	// Asked has the given ones of rate, duration, warmup, mix and seed, from flags, suite or plan.
	Asked map[string]string `json:"asked"`
	// Scenarios are the script's in the order of their starts.
	Scenarios []ScenarioLoad `json:"scenarios"`
	// PlannedSeconds is the planned length; 0 where the load ends when all iterations are done.
	PlannedSeconds float64 `json:"plannedSeconds"`
	// SilentIterations are k6's finished iterations without a write; -1: not known.
	SilentIterations int64 `json:"silentIterations" number:"-1"`
	// Operations counts the measured writes by operation, AskedOperations the same writes as the
	// script or the weights wanted them, rows being free.
	Operations      Operations `json:"operations"`
	AskedOperations Operations `json:"askedOperations"`
	// Differences are sentences, each about a difference from the request that makes the verdict
	// unknown.
	Differences []string `json:"differences"`
}

// plus returns the load of two parts together; both have the scenarios of one script.
func (w Workload) plus(other Workload) Workload {
	w.Scenarios = slices.Clone(w.Scenarios)
	for i := range min(len(w.Scenarios), len(other.Scenarios)) {
		s, o := &w.Scenarios[i], other.Scenarios[i]
		s.Planned, s.Iterations, s.Writes = s.Planned+max(0, o.Planned), s.Iterations+o.Iterations,
			s.Writes+o.Writes
	}
	w.Operations = w.Operations.plus(other.Operations)
	w.AskedOperations = w.AskedOperations.plus(other.AskedOperations)
	w.SilentIterations = plusKnown(w.SilentIterations, other.SilentIterations)
	w.Differences = withMissing(slices.Clone(w.Differences), other.Differences)
	return w
}

// plusKnown adds two counts; -1, not known, where either is not known.
func plusKnown(a, b int64) int64 {
	if a < 0 || b < 0 {
		return -1
	}
	return a + b
}

// Operations are numbers of writes.
type Operations struct {
	Insert int64 `json:"insert"`
	Update int64 `json:"update"`
	Delete int64 `json:"delete"`
}

func (o Operations) plus(p Operations) Operations {
	return Operations{o.Insert + p.Insert, o.Update + p.Update, o.Delete + p.Delete}
}

// ScenarioLoad is the load of a k6 scenario.
type ScenarioLoad struct {
	Name string `json:"name"`
	// Schedule is the executor with its numbers, as k6 read them from the script.
	Schedule string `json:"schedule"`
	// Measured is false for a warmup, Open is true if iterations start on a schedule.
	Measured bool `json:"measured"`
	Open     bool `json:"open"`
	// PlannedSeconds is the planned length, the longest where the iterations are counted.
	PlannedSeconds float64 `json:"plannedSeconds"`
	// Planned is the number of planned iterations, -1 where the number depends on their lengths;
	// Iterations is the number of iterations with a write.
	Planned    int64 `json:"planned" number:"-1"`
	Iterations int64 `json:"iterations"`
	Writes     int64 `json:"writes"`
}
