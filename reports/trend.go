package reports

import (
	"fmt"
	"math"
	"slices"
)

// Trend is how fast a gauge, or the latency, grew while the measured load ran: the slope of a straight
// line, with the interval that holds the true one in 95 of 100 cases.
type Trend struct {
	Component string `json:"component"`
	// Name is a gauge's, or "e2e p50", "e2e p99".
	Name string `json:"name"`
	Unit string `json:"unit"`
	// PerHour, Low and High are in Unit per hour; Mean is the average value, in Unit.
	PerHour float64 `json:"perHour"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Mean    float64 `json:"mean"`
}

// minTrendSeconds is the shortest load of which trends say something: before, a heap still finds its
// size. minGrowthSeconds is the shortest that they are judged by: at 100 writes a second the rows that
// the consumer and the generator remember take up to 20 minutes to be as many as they may be.
const (
	minTrendSeconds  = 600
	minGrowthSeconds = 3600
)

// trendBlocks is how many means the values are drawn together to: neighbours are alike, and means of
// long blocks less so. studentT is the 97.5th percentile of Student's distribution with two degrees
// of freedom less.
const (
	trendBlocks = 20
	studentT    = 2.101
)

// trended are the gauges that may not grow for ever.
var trended = []string{GaugeMemory, GaugeHeap, GaugeConnections}

// trends are those of the Run; empty for a short one. The first third is left out: it is the start.
func (r *Run) trends() []Trend {
	all := []Trend{}
	if r.TestRun.DurationSeconds < minTrendSeconds {
		return all
	}
	add := func(component, name, unit string, seconds, values []float64) {
		from := slices.IndexFunc(seconds, func(at float64) bool { return at >= r.TestRun.DurationSeconds/3 })
		if from < 0 {
			return
		}
		if t, ok := trend(seconds[from:], values[from:]); ok {
			t.Component, t.Name, t.Unit = component, name, unit
			all = append(all, t)
		}
	}
	for i := range r.Looks.Gauges {
		if g := &r.Looks.Gauges[i]; slices.Contains(trended, g.Name) {
			seconds, values := r.duringLoad(g)
			add(g.Component, g.Name, g.Unit, seconds, values)
		}
	}
	var seconds, p50, p99 []float64
	for _, s := range r.Series {
		if s.Max > 0 && float64(s.Second) < r.TestRun.DurationSeconds {
			seconds, p50, p99 = append(seconds, float64(s.Second)), append(p50, s.P50), append(p99, s.P99)
		}
	}
	add("pipeline", "e2e p50", "ms", seconds, p50)
	add("pipeline", "e2e p99", "ms", seconds, p99)
	return all
}

// trend fits a straight line to the means of blocks by least squares; ok is false with too few values.
func trend(seconds, values []float64) (t Trend, ok bool) {
	if len(values) < 3*trendBlocks {
		return t, false
	}
	var x, y [trendBlocks]float64
	for b := range trendBlocks {
		from, to := b*len(values)/trendBlocks, (b+1)*len(values)/trendBlocks
		x[b], y[b] = mean(seconds[from:to])/3600, mean(values[from:to])
	}
	if x[trendBlocks-1] == x[0] {
		return t, false
	}
	mx, my, perHour := mean(x[:]), mean(y[:]), slope(x[:], y[:])
	var sxx, rest float64
	for b := range trendBlocks {
		off := y[b] - my - perHour*(x[b]-mx)
		sxx, rest = sxx+(x[b]-mx)*(x[b]-mx), rest+off*off
	}
	margin := studentT * math.Sqrt(rest/(trendBlocks-2)/sxx)
	return Trend{PerHour: perHour, Low: perHour - margin, High: perHour + margin, Mean: my}, true
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}

// watchedTrends are what a soak is for: nothing of them may surely grow by a tenth of itself in an
// hour. The servers' memory grows with the rows that a run leaves in them, and the lab's with
// the topics that the embedded broker keeps: those are shown and not judged.
var watchedTrends = []struct{ component, name string }{
	{"consumer", GaugeMemory}, {"consumer", GaugeHeap}, {"consumer", GaugeConnections},
	{"generator", GaugeMemory}, {"pipeline", "e2e p50"},
}

// maxGrowthPercent is what may be grown by in an hour, in per cent of the mean. A pool has a fraction of
// one connection in use where there is little to do, and a tenth of that is nothing: connections that leak
// are whole ones.
const (
	maxGrowthPercent  = 10
	leastLeakedAnHour = 1.0
)

// trendLimits judge the lower end of each interval: only what surely grows is a violation.
func (r *Run) trendLimits() (limits []limit) {
	if r.TestRun.DurationSeconds < minGrowthSeconds {
		return nil
	}
	for _, w := range watchedTrends {
		for _, t := range r.Trends {
			if t.Component == w.component && t.Name == w.name && t.Mean > 0 {
				growth := 100 * t.Low / t.Mean
				if t.Name == GaugeConnections && t.Low < leastLeakedAnHour {
					growth = 0
				}
				limits = append(limits, limit{"growth of " + t.Component + " " + t.Name + " an hour, at least",
					fmt.Sprintf("< %g %%", float64(maxGrowthPercent)), max(0, growth), " %", growth < maxGrowthPercent})
			}
		}
	}
	return limits
}
