package reports

import (
	"fmt"
	"math"
	"slices"
)

// Validate checks that the Run says something that can be true; the error names the member that is
// wrong. It does not judge: a Run full of failures is valid.
func (r *Run) Validate() error {
	if r.SchemaVersion != SchemaVersion {
		return fmt.Errorf("schemaVersion: got %d, want %d", r.SchemaVersion, SchemaVersion)
	}
	for _, check := range []func() error{
		r.validateTestRun, r.validateVerdict, r.validateSummary, r.validateStages, r.validateSeries,
		r.validateConsistency, r.validateFaults, r.validateMeasuring, r.validateResources, r.validateLooks,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// The greatest believable numbers. Beyond them arithmetic and the axes of the charts break down.
const (
	maxNumber    = 1e15
	maxLatencyMs = 1e9
)

// member is a number with its name; it must be believable and not negative.
type member struct {
	name  string
	value float64
}

func checkNumbers(prefix string, members ...member) error {
	for _, m := range members {
		if math.IsNaN(m.value) || m.value < 0 || m.value > maxNumber {
			return fmt.Errorf("%s: got %v, want a number from 0 to %g", prefix+m.name, m.value, maxNumber)
		}
	}
	return nil
}

func oneOf[T ~string](name string, got T, want ...T) error {
	if !slices.Contains(want, got) {
		return fmt.Errorf("%s: got %q, want one of %q", name, got, want)
	}
	return nil
}

func share(name string, value float64) error {
	if !(value >= 0 && value <= 1) {
		return fmt.Errorf("%s: got %v, want a share between 0 and 1", name, value)
	}
	return nil
}

func (r *Run) validateTestRun() error {
	t := &r.TestRun
	switch {
	case t.ID == "":
		return fmt.Errorf("testRun.id: empty")
	case t.Scenario == "":
		return fmt.Errorf("testRun.scenario: empty")
	case t.StartTime.IsZero():
		return fmt.Errorf("testRun.startTime: empty")
	case t.EndTime.Before(t.StartTime):
		return fmt.Errorf("testRun.endTime: %v is before startTime %v", t.EndTime, t.StartTime)
	case r.Provenance.Stack == "":
		return fmt.Errorf("provenance.stack: empty")
	}
	return checkNumbers("", member{"testRun.durationSeconds", t.DurationSeconds},
		member{"provenance.host.cores", float64(r.Provenance.Host.Cores)},
		member{"provenance.host.memoryBytes", float64(r.Provenance.Host.MemoryBytes)})
}

func (r *Run) validateVerdict() error {
	if err := oneOf("verdict.status", r.Verdict.Status, Pass, Fail, Unknown); err != nil {
		return err
	}
	if r.Verdict.Status != Pass && len(r.Verdict.Reasons) == 0 {
		return fmt.Errorf("verdict.reasons: %s without a reason", r.Verdict.Status)
	}
	if r.Thresholds.Passed != (len(r.Thresholds.Violations) == 0) {
		return fmt.Errorf("thresholds.passed: %t with %d violations",
			r.Thresholds.Passed, len(r.Thresholds.Violations))
	}
	for i, v := range r.Thresholds.Violations {
		if v.Name == "" {
			return fmt.Errorf("thresholds.violations[%d].name: empty", i)
		}
	}
	return nil
}

func (r *Run) validateSummary() error {
	s := &r.Summary
	if err := checkNumbers("summary.",
		member{"totalOperations", float64(s.TotalOperations)},
		member{"throughput.offered", s.Throughput.Offered},
		member{"throughput.mean", s.Throughput.Mean}, member{"throughput.max", s.Throughput.Max},
		member{"errors.total", float64(s.Errors.Total)},
		member{"droppedIterations", float64(max(s.DroppedIterations, 0))},
		member{"timeouts", float64(s.Timeouts)}, member{"late", float64(s.Late)},
		member{"indeterminate", float64(s.Indeterminate)},
	); err != nil {
		return err
	}
	if s.DroppedIterations < -1 {
		return fmt.Errorf("summary.droppedIterations: got %d, want -1 for unknown", s.DroppedIterations)
	}
	if s.Late > s.Timeouts {
		return fmt.Errorf("summary.late: %d of %d timeouts", s.Late, s.Timeouts)
	}
	if err := share("summary.errors.rate", s.Errors.Rate); err != nil {
		return err
	}
	return s.Latency.validate("summary.latency")
}

func (l *Latency) validate(path string) error {
	if err := checkNumbers(path+".", member{"p50", l.P50}, member{"p95", l.P95},
		member{"p99", l.P99}, member{"max", l.Max}, member{"mean", l.Mean}); err != nil {
		return err
	}
	if l.Max > maxLatencyMs {
		return fmt.Errorf("%s.max: got %v ms, want at most %g", path, l.Max, maxLatencyMs)
	}
	if l.P50 > l.P95 || l.P95 > l.P99 || l.P99 > l.Max {
		return fmt.Errorf("%s: p50 %v, p95 %v, p99 %v, max %v do not ascend",
			path, l.P50, l.P95, l.P99, l.Max)
	}
	return nil
}

func (r *Run) validateStages() error {
	seen := map[[3]string]bool{}
	for i := range r.Stages {
		s, path := &r.Stages[i], fmt.Sprintf("stages[%d]", i)
		key := [3]string{s.Stage, s.Entity, s.Operation}
		if seen[key] {
			return fmt.Errorf("%s: a second row for %q", path, key)
		}
		seen[key] = true
		if err := oneOf(path+".stage", s.Stage, ScheduleDelay, Commit, Pipeline, E2E, E2ESteady,
			SourceToConnector, ConnectorToKafka, KafkaToConsumer, ConsumerToApplied); err != nil {
			return err
		}
		if err := checkNumbers(path+".", member{"count", float64(s.Count)}); err != nil {
			return err
		}
		if err := s.Latency.validate(path); err != nil {
			return err
		}
		if s.Histogram == "" {
			continue
		}
		histogram, err := decodeHistogram(s.Histogram)
		if err != nil {
			return fmt.Errorf("%s.histogram: %w", path, err)
		}
		if histogram.TotalCount() != s.Count {
			return fmt.Errorf("%s.histogram: has %d samples, count is %d",
				path, histogram.TotalCount(), s.Count)
		}
	}
	return nil
}

func (r *Run) validateSeries() error {
	last := -1
	for i, s := range r.Series {
		path := fmt.Sprintf("series[%d]", i)
		if s.Second <= last || s.Second > MaxSecond {
			return fmt.Errorf("%s.second: %d after %d", path, s.Second, last)
		}
		last = s.Second
		if err := checkNumbers(path+".", member{"offered", float64(s.Offered)},
			member{"committed", float64(s.Committed)}, member{"visible", float64(s.Visible)},
			member{"outstanding", float64(s.Outstanding)}); err != nil {
			return err
		}
		latency := Latency{P50: s.P50, P95: s.P95, P99: s.P99, Max: s.Max}
		if err := latency.validate(path); err != nil {
			return err
		}
		if s.Histogram != "" {
			if _, err := decodeHistogram(s.Histogram); err != nil {
				return fmt.Errorf("%s.histogram: %w", path, err)
			}
		}
	}
	return nil
}

func (r *Run) validateConsistency() error {
	c := &r.Consistency
	if c.Checked && c.Error != "" {
		return fmt.Errorf("consistency.checked: true with the error %q", c.Error)
	}
	if len(c.Examples) > maxExamples {
		return fmt.Errorf("consistency.examples: %d, want at most %d", len(c.Examples), maxExamples)
	}
	for _, status := range sortedKeys(c.Counts) {
		if err := oneOf("consistency.counts", status, statuses...); err != nil {
			return err
		}
		if err := checkNumbers("consistency.counts.",
			member{status, float64(c.Counts[status])}); err != nil {
			return err
		}
	}
	for i, e := range c.Examples {
		path := fmt.Sprintf("consistency.examples[%d].status", i)
		if err := oneOf(path, e.Status, statuses...); err != nil {
			return err
		}
	}
	return checkNumbers("consistency.", member{"rows", float64(c.Rows)},
		member{"documents", float64(c.Documents)})
}

func (r *Run) validateFaults() error {
	for i, f := range r.Faults {
		path := fmt.Sprintf("faults[%d].", i)
		switch {
		case f.Name == "":
			return fmt.Errorf("%sname: empty", path)
		case f.EndSeconds < f.StartSeconds:
			return fmt.Errorf("%sendSeconds: %v is before startSeconds %v",
				path, f.EndSeconds, f.StartSeconds)
		case f.RecoveredSeconds < 0 && f.RecoveredSeconds != -1:
			return fmt.Errorf("%srecoveredSeconds: got %v, want -1 for unknown", path, f.RecoveredSeconds)
		}
		if err := checkNumbers(path, member{"startSeconds", f.StartSeconds},
			member{"endSeconds", f.EndSeconds}, member{"proxyBytes", float64(f.ProxyBytes)},
			member{"insideP50", f.InsideP50}, member{"outsideP50", f.OutsideP50},
			member{"recoveryLimitSeconds", f.RecoveryLimitSeconds}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) validateMeasuring() error {
	if err := share("tracker.trackedShare", r.Tracker.TrackedShare); err != nil {
		return err
	}
	if err := share("tracker.askedShare", r.Tracker.AskedShare); err != nil {
		return err
	}
	if r.Tracker.AskedShare == 0 {
		return fmt.Errorf("tracker.askedShare: 0, want the share that the sampling was set to")
	}
	f := &r.Floor
	floor := Latency{P50: f.P50, P95: f.P95, P99: f.P99, Max: f.P99}
	if err := floor.validate("floor"); err != nil {
		return err
	}
	return checkNumbers("", member{"floor.writes", float64(f.Writes)},
		member{"floor.resolutionMs", f.ResolutionMs},
		member{"tracker.errors", float64(r.Tracker.Errors)},
		member{"generator.lateTicksP99Ms", r.Generator.LateTicksP99Ms},
		member{"generator.queueMax", float64(r.Generator.QueueMax)},
		member{"tracker.medianLookMs", r.Tracker.MedianLookMs},
		member{"tracker.slowestLookMs", r.Tracker.SlowestLookMs},
		member{"tracker.operations", float64(r.Tracker.Operations)},
		member{"tracker.serverOperations", float64(r.Tracker.ServerOperations)},
		member{"tracker.budgetAsked", r.Tracker.BudgetAsked}, member{"tracker.budgetKept", r.Tracker.BudgetKept},
		member{"generator.gcPauseMaxMs", r.Generator.GCPauseMaxMs},
		member{"generator.schedulerDelayP99Ms", r.Generator.SchedulerDelayP99Ms},
		member{"generator.substituted", float64(r.Generator.Substituted)},
		member{"ledger.writes", float64(r.Ledger.Writes)},
		member{"clock.negativeSpans", float64(r.Clock.NegativeSpans)},
		member{"clock.clampedSpans", float64(r.Clock.ClampedSpans)})
}

func (r *Run) validateResources() error {
	for i, c := range r.Resources {
		path := fmt.Sprintf("resources[%d].", i)
		if c.Component == "" {
			return fmt.Errorf("%scomponent: empty", path)
		}
		if err := checkNumbers(path, member{"cpuSeconds", c.CPUSeconds},
			member{"maxRSSBytes", float64(c.MaxRSSBytes)}); err != nil {
			return err
		}
	}
	return checkNumbers("host.", member{"cpuStealPercent", r.Host.CPUStealPercent},
		member{"cpuBusyPercent", r.Host.CPUBusyPercent})
}
