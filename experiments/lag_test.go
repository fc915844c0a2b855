package experiments

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/servertest"
)

// TestLagByARealPrometheus: a Prometheus reading the consumer's page has the lab's own lag under
// the same names, later by the time between two looks of the consumer and of Prometheus. MongoDB
// stands still for longer than the delay.
func TestLagByARealPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("a run of 20 s; left out by -short")
	}
	program := servertest.FindPrometheus(t)
	c := smoke(t, 100, 20*time.Second)
	c.PlanPath = writePlan(t, `
name: mongo-stall
description: the consumer's lag grows
steady-state: {recovery: 30s}
method:
  - {at: 3s, fault: pause, target: mongo, for: 8s}
`)
	l := begin(t, c)
	l.slow("20")
	l.config.Prometheus = servertest.RunPrometheus(t, program,
		l.stack.Endpoints().ConsumerMetricsURLs...)
	run := mustComplete(t, l)
	lags := map[string]map[string][]float64{}
	for _, g := range run.Looks.Gauges {
		if strings.HasPrefix(g.Name, reports.GaugeLag) {
			if lags[g.Component] == nil {
				lags[g.Component] = map[string][]float64{}
			}
			lags[g.Component][g.Name] = g.Values
			t.Log(g.Component, g.Name, g.Values)
		}
	}
	own, theirs := lags[stack.Consumer], lags["prometheus"]
	if names := slices.Sorted(maps.Keys(theirs)); len(names) < 5 ||
		!slices.Equal(names, slices.Sorted(maps.Keys(own))) {
		t.Fatalf("Prometheus has %q", names)
	}
	values := theirs[reports.GaugeLag]
	most, there := slices.Max(own[reports.GaugeLag]), slices.Max(values)
	if most < 100 || there < most/4 || there > most*1.2 {
		t.Errorf("the greatest lag was %v, by Prometheus %v", most, there)
	}
}
