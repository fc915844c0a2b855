package reports

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports/unit"
)

// Breakpoint is the result of the search for the highest rate that holds.
type Breakpoint struct {
	// Rate is the highest offered rate, per second, at which every limit was kept for HoldSeconds;
	// 0 in a Run without a search, or where no rate held.
	Rate        float64 `json:"rate"`
	HoldSeconds float64 `json:"holdSeconds"`
	// Broke is the lowest rate tried above Rate that did not hold; 0 for none.
	Broke float64 `json:"broke"`
	// Part is the part that broke first, Why the ground of the judgement.
	Part string `json:"part"`
	Why  string `json:"why"`
	// Probes are all rates tried, in their order; the first is the open ramp.
	Probes []Probe `json:"probes"`
}

// Probe is a rate tried in the search. Latencies are in milliseconds.
type Probe struct {
	Rate float64 `json:"rate"`
	Held bool    `json:"held"`
	// Achieved is the rate of the commits, per second.
	Achieved float64 `json:"achieved"`
	P50      float64 `json:"p50"`
	P95      float64 `json:"p95"`
	P99      float64 `json:"p99"`
	// Reason is why the rate did not hold.
	Reason string `json:"reason"`
}

// NewProbe judges a finished Run of a constant rate: the rate held if the Run crossed no limit and
// can be trusted. Growing lag is a limit here, because a rate with growing lag holds for as long as
// nobody waits.
func NewProbe(rate float64, r *Run) Probe {
	p := Probe{Rate: rate, Achieved: r.Summary.Throughput.Mean,
		P50: r.Summary.Latency.P50, P95: r.Summary.Latency.P95, P99: r.Summary.Latency.P99}
	var reasons []string
	for _, v := range r.Thresholds.Violations {
		if strings.HasPrefix(v.Name, "k6 ") && len(r.Thresholds.Violations) > 1 {
			continue // our own limits say the same
		}
		reasons = append(reasons, fmt.Sprintf("%s is %s, the limit is %s",
			v.Name, unit.Number(v.Value), v.Limit))
	}
	if r.Lag.Pattern == LagGrowing {
		reasons = append(reasons, "the consumer's lag grows by "+
			unit.Number(r.Lag.PerSecond)+" records a second")
	}
	if rest := r.Consistency.Undrained; rest != "" {
		reasons = append(reasons, "the pipeline had not drained: "+rest)
	}
	for _, doubt := range slices.Concat(r.incomplete(), r.spoilt()) {
		reasons = append(reasons, doubt.Reasons...)
	}
	p.Held, p.Reason = len(reasons) == 0, strings.Join(reasons, "; ")
	return p
}

// partsOfStages names the part that does the work of a stage; the rest of the pipeline is the
// tracker's, or everything where the consumer does not say its stages.
var partsOfStages = map[string]string{
	ScheduleDelay: "postgres", Commit: "postgres",
	SourceToConnector: "connector", ConnectorToKafka: "kafka", KafkaToConsumer: "consumer",
	ConsumerToApplied: "mongo", Visibility: "tracker", Pipeline: "pipeline",
}

// saturated is the share of the processors' time from which the machine has nothing left to give.
const saturatedPercent = 95

// Limiting names the part that broke first, by the stage whose p95 grew most from the held to the
// broken Run; and whether the machine's processors were used up, because then any part would have
// broken.
func Limiting(held, broke *Run) (part, why string) {
	var most float64
	// Where the processors are used up, a late generator waits for a processor, like every part.
	usedUp := broke.Host.CPUBusyPercent > saturatedPercent
	late := broke.Generator.LateTicksP99Ms > broke.maxLateTicksMs()
	if broke.Summary.DroppedIterations > 0 || late && !usedUp {
		part, why = "generator", fmt.Sprintf("it dropped %s and was %s ms late at p99",
			unit.Plural(broke.Summary.DroppedIterations, "iteration", "iterations"),
			unit.Number(broke.Generator.LateTicksP99Ms))
	} else {
		p95 := func(l Latency) float64 { return l.P95 }
		before := map[string]float64{}
		for _, s := range Waterfall(held, p95) {
			before[s.Stage] = s.Ms
		}
		for _, s := range Waterfall(broke, p95) {
			if grown := s.Ms - before[s.Stage]; grown > most {
				most, part = grown, partsOfStages[s.Stage]
				why = fmt.Sprintf("%s took %s ms at p95 instead of %s ms", s.Label, unit.Ms(s.Ms),
					unit.Ms(before[s.Stage]))
			}
		}
	}
	if usedUp {
		why += fmt.Sprintf("; the machine's processors were used up (%s %%)",
			unit.Number(broke.Host.CPUBusyPercent))
	}
	if user, share := broke.busiest(); user != "" {
		why += fmt.Sprintf("; most of the processor's time, %s %% of a core, was %s's",
			unit.Number(share), user)
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
		if used, known := r.MeanDuringLoad(g); known && used > percent {
			component, percent = g.Component, used
		}
	}
	return component, percent
}

// Inconclusive says why a search has no result, "" where there is a result or was no search.
func (b *Breakpoint) Inconclusive() string {
	switch {
	case len(b.Probes) == 0 || b.Rate > 0 && b.Broke > 0:
		return ""
	case b.Rate == 0:
		return fmt.Sprintf("no rate held, down to %s/s", unit.Number(b.Broke))
	}
	return fmt.Sprintf("no rate broke, up to %s/s", unit.Number(b.Rate))
}
