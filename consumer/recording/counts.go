package recording

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cdclab/cdclab/consumer/telemetry"
)

// countOutcomes sums up the counts so far.
func countOutcomes(registry *prometheus.Registry) (ReplayCounts, error) {
	counts := ReplayCounts{DeadLettered: map[string]int{}, Drift: map[string]int{},
		Violations: map[string]int{}}
	families, err := registry.Gather()
	if err != nil {
		return ReplayCounts{}, fmt.Errorf("count what was replayed: %w", err)
	}
	for _, family := range families {
		for _, one := range family.GetMetric() {
			n := int(one.GetCounter().GetValue())
			if n == 0 {
				continue
			}
			switch family.GetName() {
			case telemetry.MetricEvents:
				counts.end(labelValue(one, "outcome"), n)
			case telemetry.MetricDeadLetters:
				counts.DeadLettered[labelValue(one, "rule")] += n
			case telemetry.MetricSchemaChanges:
				counts.Drift[labelValue(one, "kind")] += n
			case telemetry.MetricValidationFailed:
				counts.Violations[labelValue(one, "rule")] += n
			}
		}
	}
	return counts, nil
}

func (c *ReplayCounts) end(outcome string, n int) {
	switch outcome {
	case telemetry.OutcomeApplied, telemetry.OutcomeFolded:
		c.Applied += n
	case telemetry.OutcomeStale:
		c.Stale += n
	case telemetry.OutcomeParked:
		c.Parked += n
	case telemetry.OutcomeIgnored:
		c.Ignored += n
	}
}

func labelValue(m *dto.Metric, name string) string {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
