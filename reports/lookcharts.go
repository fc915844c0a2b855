package reports

import (
	"math"
	"slices"
	"strings"
)

// looksChart draws gauges over the seconds of the Run, a line of its own class for each; nil when there is
// nothing but 0 to draw.
func looksChart(r *Run, s size, label string, scale float64, show string, gauges map[string]*Gauge) *chart {
	s.height *= 0.65
	c, x, all := timeline(r, s, label)
	most := 0.0
	values := map[string][]float64{}
	for class, g := range gauges {
		if g == nil {
			continue
		}
		for i, v := range g.Values {
			if at := r.Looks.Seconds[i]; at >= x.low && at <= x.high && v >= 0 {
				most = math.Max(most, v*scale)
			}
		}
		values[class] = held(g.Values)
	}
	if most == 0 {
		return nil
	}
	y := c.linearY(most)
	for _, class := range sortedKeys(values) {
		of := values[class]
		c.Lines = append(c.Lines, line{class, path(len(of), func(i int) (float64, float64, bool) {
			at := r.Looks.Seconds[i]
			return x.at(at), y.at(of[i] * scale), at >= x.low && at <= x.high && of[i] >= 0
		})})
	}
	c.hover(x, all, func(m moment) string { return r.lookedAt(m, values, scale, show) })
	return c
}

// held are values with the last one in the place of those that were not asked for, where most were not: what
// an answer costs is asked every few looks only.
func held(values []float64) []float64 {
	first, last, known := -1, -1, 0
	for i, v := range values {
		if v >= 0 {
			if first < 0 {
				first = i
			}
			last, known = i, known+1
		}
	}
	if known == 0 || 2*known > last-first+1 {
		return values
	}
	filled := slices.Clone(values)
	for i := first + 1; i < last; i++ {
		if filled[i] < 0 {
			filled[i] = filled[i-1]
		}
	}
	return filled
}

// lookedAt is what the last look in a moment saw.
func (r *Run) lookedAt(m moment, values map[string][]float64, scale float64, show string) string {
	var texts []string
	for _, class := range sortedKeys(values) {
		for i := len(r.Looks.Seconds) - 1; i >= 0; i-- {
			if at := r.Looks.Seconds[i]; at < m.from+m.seconds {
				if v := values[class][i]; v >= 0 && at >= 0 {
					texts = append(texts, class+" "+number(v*scale)+show)
				}
				break
			}
		}
	}
	return strings.Join(texts, ", ")
}

// lagChart is the consumer's lag, as the lab and perhaps a Prometheus see it.
func lagChart(r *Run, s size) *chart {
	return looksChart(r, s, "Records that the consumer has not committed yet", 1, " records",
		map[string]*Gauge{"lag": r.Looks.gauge("consumer", GaugeLag), "prometheus": r.Looks.gauge("prometheus", GaugeLag)})
}

// recordsChart is what was offered beside what came to the topics and what the group committed of it.
func recordsChart(r *Run, s size) *chart {
	produced, consumed := r.Looks.gauge("consumer", GaugeProduced), r.Looks.gauge("consumer", GaugeConsumed)
	if produced == nil || consumed == nil {
		return nil
	}
	offered := &Gauge{}
	bySecond := map[int]int64{}
	for _, second := range r.Series {
		bySecond[second.Second] = second.Offered
	}
	for _, at := range r.Looks.Seconds {
		n, known := bySecond[int(math.Floor(at))]
		if !known {
			n = -1
		}
		offered.Values = append(offered.Values, float64(n))
	}
	return looksChart(r, s, "Writes offered, records produced and consumed, per second", 1, "/s",
		map[string]*Gauge{"offered": offered, "produced": produced, "consumed": consumed})
}

// drawnComponents have a colour each.
var drawnComponents = []string{"postgres", "connector", "kafka", "consumer", "mongo", "generator", "lab", "host"}

// usage is one kind of gauge of all components over time.
type usage struct {
	Title  string
	Charts []*chart
}

// usages are those of which something was seen.
func usages(r *Run) (all []usage) {
	const kibi, mebi = 1.0 / (1 << 10), 1.0 / (1 << 20)
	for _, u := range []struct {
		title, gauge, unit string
		scale              float64
	}{
		{"Processor use in per cent of one core", GaugeCPU, " %", 1},
		{"Resident memory in MiB", GaugeMemory, " MiB", mebi},
		{"Heap in MiB", GaugeHeap, " MiB", mebi},
		{"Connections: open ones of a server, those in use of a pool", GaugeConnections, "", 1},
		{"Commits a second", GaugeCommits, "/s", 1},
		{"Blocks a second that were not in PostgreSQL's shared buffers", GaugeBlocksRead, "/s", 1},
		{"Blocks a second that were in PostgreSQL's shared buffers", GaugeBlocksHit, "/s", 1},
		{"Written to PostgreSQL's log in KiB/s", GaugeWAL, " KiB/s", kibi},
		{"Read from disk in KiB/s", GaugeDiskRead, " KiB/s", kibi},
		{"Written to disk in KiB/s", GaugeDiskWrite, " KiB/s", kibi},
		{"The busiest disk in per cent of the time", GaugeDiskBusy, " %", 1},
		{"Sent over the network in KiB/s, the loopback included", GaugeNetworkSent, " KiB/s", kibi},
		{"Received over the network in KiB/s, the loopback included", GaugeNetworkReceived, " KiB/s", kibi},
	} {
		gauges := map[string]*Gauge{}
		for _, component := range drawnComponents {
			if component != "host" || u.gauge != GaugeCPU && u.gauge != GaugeMemory { // it is all of the others
				gauges[component] = r.Looks.gauge(component, u.gauge)
			}
		}
		one := usage{Title: u.title}
		for _, s := range sizes {
			one.Charts = appendChart(one.Charts, looksChart(r, s, u.title, u.scale, u.unit, gauges))
		}
		if len(one.Charts) > 0 {
			all = append(all, one)
		}
	}
	return all
}
