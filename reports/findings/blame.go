package findings

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// blame says where the time went in the chosen blocks, beside all others: the stage, as the end of
// "the pipeline stalls", and the figures, among them what the servers and the machine did.
func (e *evidence) blame(chosen map[int]bool) (cause string, figures []string) {
	type part struct {
		stage   string
		in, out float64
	}
	var parts []part
	var excess float64
	for _, stage := range []string{reports.ScheduleDelay, reports.Commit, reports.Pipeline} {
		if in, out, ok := e.mean(stage, chosen); ok {
			parts = append(parts, part{stage, in, out})
			excess += max(0, in-out)
		}
	}
	if len(parts) > 0 && excess > 0 {
		most := slices.MaxFunc(parts,
			func(a, b part) int { return cmp.Compare(a.in-a.out, b.in-b.out) })
		share := (most.in - most.out) / excess
		figures = append(figures, fmt.Sprintf("%s: %s ms there (mean), %s ms elsewhere, %.0f %% "+
			"of the excess", reports.StageLabel(most.stage), unit.Ms(most.in), unit.Ms(most.out),
			100*share))
		if share >= mostlyOne {
			cause = " in the stage " + reports.StageLabel(most.stage)
		}
		if inner, figure := e.consumerStage(chosen); share >= mostlyOne &&
			most.stage == reports.Pipeline && inner != "" {
			cause, figures = " in the stage "+reports.StageLabel(inner), append(figures, figure)
		}
	}
	figures = append(figures, e.beside(chosen)...)
	return cause, figures
}

// mostlyOne is the share of the excess from which on a stage is named alone.
const mostlyOne = 0.6

// consumerStage returns the stage of the consumer's own that holds most of the pipeline's excess,
// "" where none does, or where the stages were not seen over time. The looks at the stages are
// seconds apart, so that a look counts as chosen if any block since the look before is.
func (e *evidence) consumerStage(chosen map[int]bool) (stage, figure string) {
	var excess, most float64
	for _, name := range reports.PartStages[2:] {
		in, out := e.looksAt(reports.StageGauge(name, reports.GaugeMean), chosen)
		if len(in) == 0 || len(out) == 0 {
			continue
		}
		more := max(0, meanOf(in)-meanOf(out))
		if excess += more; more > most {
			most, stage = more, name
		}
	}
	if stage == "" || most < mostlyOne*excess {
		return "", ""
	}
	in, out := e.looksAt(reports.StageGauge(stage, reports.GaugeP99), chosen)
	return stage, fmt.Sprintf("%s: p99 up to %s ms in the looks there, %s ms elsewhere (median); "+
		"%.0f %% of the consumer's excess", reports.StageLabel(stage), unit.Ms(maxOf(in)),
		unit.Ms(median(out)), 100*most/excess)
}

// looksAt are the values of a gauge of the consumer at the looks that cover a chosen block, and at
// all others.
func (e *evidence) looksAt(name string, chosen map[int]bool) (in, out []float64) {
	seconds, values := e.run.DuringLoad(e.run.Looks.Gauge("consumer", name))
	for i := range values {
		from := seconds[i] - 5
		if i > 0 {
			from = max(from, seconds[i-1])
		}
		if e.covers(from, seconds[i], chosen) {
			in = append(in, values[i])
		} else {
			out = append(out, values[i])
		}
	}
	return in, out
}

// covers is true if a chosen block lies between two moments, in seconds.
func (e *evidence) covers(from, to float64, chosen map[int]bool) bool {
	for block := int(max(0, from)) / e.seconds; float64(block*e.seconds) < to; block++ {
		if chosen[block] {
			return true
		}
	}
	return false
}

func meanOf(values []float64) float64 { return sumOf(values) / float64(max(1, len(values))) }

func maxOf(values []float64) float64 { return slices.Max(append([]float64{0}, values...)) }

// servers are the parts whose gauges may explain a stall; the other parts only show its effects.
var servers = []string{"host", "mongo", "postgres", "kafka", "connector"}

const (
	// besides is how many gauges a Finding names.
	besides = 2
	// leastApart is how often a value there must be on one side of a value elsewhere.
	leastApart = 0.85
	// leastZ is the least standard score of the rank sums, 1 in 1,000 by chance for a gauge.
	leastZ = 3.3
)

// beside names the gauges of servers and of the machine that differ most in the chosen blocks, by
// the rank sums of Mann and Whitney.
func (e *evidence) beside(chosen map[int]bool) (figures []string) {
	type differing struct {
		z    float64
		text string
	}
	var found []differing
	for i := range e.run.Looks.Gauges {
		g := &e.run.Looks.Gauges[i]
		if !slices.Contains(servers, g.Component) || g.Name == reports.GaugeLag {
			continue
		}
		var in, out []float64
		seconds, values := e.run.DuringLoad(g)
		for i, at := range seconds {
			if chosen[int(max(0, at-0.5))/e.seconds] { // a look covers the second before
				in = append(in, values[i])
			} else {
				out = append(out, values[i])
			}
		}
		if apart, z := rankSums(in, out); math.Abs(z) >= leastZ &&
			math.Max(apart, 1-apart) >= leastApart {
			found = append(found, differing{math.Abs(z), fmt.Sprintf("beside: %s %s %s there, %s "+
				"elsewhere (median)", g.Component, g.Name, unit.Amount(reports.Middle(in), g.Unit),
				unit.Amount(reports.Middle(out), g.Unit))})
		}
	}
	slices.SortStableFunc(found, func(a, b differing) int { return cmp.Compare(b.z, a.z) })
	for _, f := range found[:min(besides, len(found))] {
		figures = append(figures, f.text)
	}
	return figures
}

// rankSums returns how often a value of a is above one of b, ties counting half, and the standard
// score of that.
func rankSums(a, b []float64) (apart, z float64) {
	if len(a) < 3 || len(b) < 3 {
		return 0.5, 0
	}
	sorted := slices.Sorted(slices.Values(b))
	var above float64
	for _, v := range a {
		from, _ := slices.BinarySearch(sorted, v)
		to, _ := slices.BinarySearchFunc(sorted, v, func(s, v float64) int {
			if s > v {
				return 1
			}
			return -1
		})
		above += float64(from) + float64(to-from)/2
	}
	n, m := float64(len(a)), float64(len(b))
	return above / (n * m), (above - n*m/2) / math.Sqrt(n*m*(n+m+1)/12)
}
