package reports

import (
	"fmt"
	"slices"
	"strings"
)

// Breakpoint is what the search for the highest rate that holds has found.
type Breakpoint struct {
	// Rate is the highest offered rate, per second, at which every limit was kept for HoldSeconds; 0 in a
	// Run that did not search, or where no rate held.
	Rate        float64 `json:"rate"`
	HoldSeconds float64 `json:"holdSeconds"`
	// Broke is the lowest rate above it that was tried and did not hold; 0 for none.
	Broke float64 `json:"broke"`
	// Part is the part that broke first, Why what it is judged by.
	Part string `json:"part"`
	Why  string `json:"why"`
	// Probes are all rates that were tried, in their order; the first one is the open ramp.
	Probes []Probe `json:"probes"`
}

// Probe is one rate that was tried. Latencies are in milliseconds.
type Probe struct {
	Rate float64 `json:"rate"`
	Held bool    `json:"held"`
	// Achieved is the rate of the commits, per second.
	Achieved float64 `json:"achieved"`
	P50      float64 `json:"p50"`
	P95      float64 `json:"p95"`
	P99      float64 `json:"p99"`
	// Reason is why it did not hold.
	Reason string `json:"reason"`
}

// NewProbe judges a finished Run of a constant rate: it held if it crossed no limit and can be trusted.
// Growing lag is a limit here, because a rate at which it grows holds for as long as nobody waits.
func NewProbe(rate float64, r *Run) Probe {
	p := Probe{Rate: rate, Achieved: r.Summary.Throughput.Mean,
		P50: r.Summary.Latency.P50, P95: r.Summary.Latency.P95, P99: r.Summary.Latency.P99}
	var reasons []string
	for _, v := range r.Thresholds.Violations {
		if strings.HasPrefix(v.Name, "k6 ") && len(r.Thresholds.Violations) > 1 {
			continue // our own limits say the same
		}
		reasons = append(reasons, fmt.Sprintf("%s is %s, the limit is %s", v.Name, number(v.Value), v.Limit))
	}
	if r.Lag.Pattern == LagGrowing {
		reasons = append(reasons, "the consumer's lag grows by "+number(r.Lag.PerSecond)+" records a second")
	}
	for _, doubt := range slices.Concat(r.incomplete(), r.spoilt()) {
		reasons = append(reasons, doubt.Reasons...)
	}
	p.Held, p.Reason = len(reasons) == 0, strings.Join(reasons, "; ")
	return p
}

// partsOfStages is who does the work of a stage; what is left of the pipeline is the tracker's, or everything
// where the consumer does not say its stages.
var partsOfStages = map[string]string{
	ScheduleDelay: "postgres", Commit: "postgres", SourceToConnector: "connector", ConnectorToKafka: "kafka",
	KafkaToConsumer: "consumer", ConsumerToApplied: "mongo", visibility: "tracker", Pipeline: "pipeline",
}

// saturated is from how much of its processors' time on the machine has nothing left to give.
const saturatedPercent = 95

// Limiting names the part that broke first, by the stage whose p95 grew most from the Run that held to
// the one that did not; and whether the machine's processors were used up, because then any part
// would have broken.
func Limiting(held, broke *Run) (part, why string) {
	var most float64
	// A generator that is late where the processors are used up waits for one, like every part.
	usedUp := broke.Host.CPUBusyPercent > saturatedPercent
	late := broke.Generator.LateTicksP99Ms > broke.maxLateTicksMs()
	if broke.Summary.DroppedIterations > 0 || late && !usedUp {
		part, why = "generator", fmt.Sprintf("it dropped %s and was %s ms late at p99",
			plural(broke.Summary.DroppedIterations, "iteration", "iterations"), number(broke.Generator.LateTicksP99Ms))
	} else {
		p95 := func(l Latency) float64 { return l.P95 }
		before := map[string]float64{}
		for _, s := range waterfallParts(held, p95) {
			before[s.Stage] = s.Ms
		}
		for _, s := range waterfallParts(broke, p95) {
			if grown := s.Ms - before[s.Stage]; grown > most {
				most, part = grown, partsOfStages[s.Stage]
				why = fmt.Sprintf("%s took %s ms at p95 instead of %s ms", s.Label, ms(s.Ms), ms(before[s.Stage]))
			}
		}
	}
	if usedUp {
		why += fmt.Sprintf("; the machine's processors were used up (%s %%)", number(broke.Host.CPUBusyPercent))
	}
	if user, share := broke.busiest(); user != "" {
		why += fmt.Sprintf("; most of the processor's time, %s %% of a core, was %s's", number(share), user)
	}
	return part, strings.TrimPrefix(why, "; ")
}

// busiest is the component with the most processor time over the load, in per cent of one core.
func (r *Run) busiest() (component string, percent float64) {
	for i := range r.Looks.Gauges {
		g := &r.Looks.Gauges[i]
		if g.Name != GaugeCPU || g.Component == "host" {
			continue
		}
		if _, values := r.duringLoad(g); len(values) > 0 && mean(values) > percent {
			component, percent = g.Component, mean(values)
		}
	}
	return component, percent
}

// open says why a search has no result, "" where it has, or where there was none.
func (b *Breakpoint) open() string {
	switch {
	case len(b.Probes) == 0 || b.Rate > 0 && b.Broke > 0:
		return ""
	case b.Rate == 0:
		return fmt.Sprintf("no rate held, down to %s/s", number(b.Broke))
	}
	return fmt.Sprintf("no rate broke, up to %s/s", number(b.Rate))
}

// lines are the search as a table.
func (b *Breakpoint) lines() []string {
	if len(b.Probes) == 0 {
		return nil
	}
	var lines []string
	for i, p := range b.Probes {
		result := "held"
		if !p.Held {
			result = p.Reason
		}
		if i == 0 {
			result = "open ramp: " + result
		}
		lines = append(lines, fmt.Sprintf("%7s/s  %7s/s committed  p50 %s  p95 %s  p99 %s ms  %s", number(p.Rate),
			number(p.Achieved), ms(p.P50), ms(p.P95), ms(p.P99), result))
	}
	if open := b.open(); open != "" {
		return append(lines, open)
	}
	return append(lines, fmt.Sprintf("breakpoint %s/s held for %s s, %s/s did not; first to break: %s (%s)", number(b.Rate),
		number(b.HoldSeconds), number(b.Broke), b.Part, b.Why))
}
