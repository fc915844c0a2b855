package recording

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

func TestReplayCounts(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	for _, outcome := range []string{telemetry.OutcomeApplied, telemetry.OutcomeFolded,
		telemetry.OutcomeStale, telemetry.OutcomeParked, telemetry.OutcomeIgnored} {
		m.Events.WithLabelValues("customer", "UPDATE", outcome).Inc()
	}
	m.DeadLetters.WithLabelValues(fate.RuleUndecodable, "customer").Inc()
	m.Changes.WithLabelValues("customer", "c", "added", "info").Inc()
	m.Failed.WithLabelValues("format", "customer", "reject").Add(2)
	counts, err := countOutcomes(m.Registry)
	if err != nil {
		t.Fatal(err)
	}
	want := ReplayCounts{Applied: 2, Stale: 1, Parked: 1, Ignored: 1,
		DeadLettered: map[string]int{fate.RuleUndecodable: 1},
		Drift:        map[string]int{"added": 1}, Violations: map[string]int{"format": 2}}
	if d := cmp.Diff(want, counts); d != "" {
		t.Error(d)
	}
}
