package reports

import (
	"fmt"
	"math"
	"slices"
)

// Growth is how fast a gauge, or the latency, grew while the measured load ran: the slope of a
// straight line, with the interval that holds the true slope in 95 of 100 cases.
type Growth struct {
	Component string `json:"component"`
	// Name is a gauge's, or "e2e p50", "e2e p99".
	Name string `json:"name"`
	Unit string `json:"unit"`
	// PerHour, Low and High are in Unit per hour; Mean is the average value, in Unit.
	PerHour float64 `json:"perHour" number:"any"`
	Low     float64 `json:"low" number:"any"`
	High    float64 `json:"high" number:"any"`
	Mean    float64 `json:"mean" number:"any"`
}

const (
	// minGrowthShownSeconds is the shortest load whose growth says something: before, a heap still
	// finds its size.
	minGrowthShownSeconds = 600
	// MinGrowthSeconds is the shortest load judged by its growth: at 100 writes a second the rows
	// remembered by the consumer and the generator take up to 20 minutes to reach their bound.
	MinGrowthSeconds = 3600
)

// growthBlocks is how many means the values are drawn together to: neighbours are alike, and means
// of long blocks less so. studentT is the 97.5th percentile of Student's distribution with two
// degrees of freedom less.
const (
	growthBlocks = 20
	studentT     = 2.101
)

// grown are the gauges that may not grow for ever.
var grown = []string{GaugeMemory, GaugeHeap, GaugeConnections}

// growths returns how fast the gauges and the latency grew; empty for a short load. The first third
// of the load is left out, because everything grows at the start.
func (r *Run) growths() []Growth {
	all := []Growth{}
	if r.TestRun.DurationSeconds < minGrowthShownSeconds {
		return all
	}
	add := func(component, name, unit string, seconds, values []float64) {
		from := slices.IndexFunc(seconds,
			func(at float64) bool { return at >= r.TestRun.DurationSeconds/3 })
		if from < 0 {
			return
		}
		if t, ok := fitGrowth(seconds[from:], values[from:]); ok {
			t.Component, t.Name, t.Unit = component, name, unit
			all = append(all, t)
		}
	}
	for i := range r.Looks.Gauges {
		if g := &r.Looks.Gauges[i]; slices.Contains(grown, g.Name) {
			seconds, values := r.DuringLoad(g)
			add(g.Component, g.Name, g.Unit, seconds, values)
		}
	}
	var seconds, p50, p99 []float64
	for _, s := range r.Series {
		if s.Max > 0 && float64(s.Second) < r.TestRun.DurationSeconds {
			seconds, p50, p99 = append(seconds, float64(s.Second)), append(p50, s.P50),
				append(p99, s.P99)
		}
	}
	add("pipeline", "e2e p50", "ms", seconds, p50)
	add("pipeline", "e2e p99", "ms", seconds, p99)
	return all
}

// fitGrowth fits a straight line to the means of blocks by least squares; ok is false with too few
// values.
func fitGrowth(seconds, values []float64) (t Growth, ok bool) {
	if len(values) < 3*growthBlocks {
		return t, false
	}
	var x, y [growthBlocks]float64
	for b := range growthBlocks {
		from, to := b*len(values)/growthBlocks, (b+1)*len(values)/growthBlocks
		x[b], y[b] = mean(seconds[from:to])/3600, mean(values[from:to])
	}
	if x[growthBlocks-1] == x[0] {
		return t, false
	}
	mx, my, perHour := mean(x[:]), mean(y[:]), slope(x[:], y[:])
	var sxx, rest float64
	for b := range growthBlocks {
		off := y[b] - my - perHour*(x[b]-mx)
		sxx, rest = sxx+(x[b]-mx)*(x[b]-mx), rest+off*off
	}
	margin := studentT * math.Sqrt(rest/(growthBlocks-2)/sxx)
	return Growth{PerHour: perHour, Low: perHour - margin, High: perHour + margin, Mean: my}, true
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}

// watchedGrowths are the purpose of a soak: none of the gauges may surely grow by a tenth of itself
// in an hour. The servers' memory grows with the rows left by a run, and the lab's with the topics
// kept by the embedded broker: both are shown and not judged.
var watchedGrowths = []struct{ component, name string }{
	{"consumer", GaugeMemory}, {"consumer", GaugeHeap}, {"consumer", GaugeConnections},
	{"generator", GaugeMemory}, {"pipeline", "e2e p50"},
}

// maxGrowthPercent is the permitted growth in an hour, in per cent of the mean. A pool has a
// fraction of one connection in use where there is little to do, and a tenth of a fraction is
// nothing: leaking connections are whole connections.
const (
	maxGrowthPercent  = 10
	leastLeakedAnHour = 1.0
)

// growthLimits judge the lower end of each interval: only sure growth is a violation.
func (r *Run) growthLimits() (limits []Limit) {
	if r.TestRun.DurationSeconds < MinGrowthSeconds {
		return nil
	}
	for _, w := range watchedGrowths {
		for _, t := range r.Growths {
			if t.Component == w.component && t.Name == w.name && t.Mean > 0 {
				growth := 100 * t.Low / t.Mean
				if t.Name == GaugeConnections && t.Low < leastLeakedAnHour {
					growth = 0
				}
				limits = append(limits, Limit{"growth of " + t.Component + " " + t.Name +
					" an hour, at least",
					fmt.Sprintf("< %g %%", float64(maxGrowthPercent)), max(0, growth), " %",
					growth < maxGrowthPercent})
			}
		}
	}
	return limits
}
