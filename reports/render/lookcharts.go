package render

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// looksChart draws gauges over the seconds of the Run, a line of its own class for each; nil when
// there is nothing but 0 to draw.
func looksChart(r *reports.Run, s size, label string, scale float64, show string,
	gauges map[string]*reports.Gauge) *chart {
	s = s.small()
	c, x, _ := timeline(r, s, label)
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
	for _, class := range slices.Sorted(maps.Keys(values)) {
		seconds, of := thinned(r.Looks.Seconds, values[class], s.points)
		c.Lines = append(c.Lines, line{class, path(len(of), func(i int) (float64, float64, bool) {
			at := seconds[i]
			return x.at(at), y.at(of[i] * scale), at >= x.low && at <= x.high && of[i] >= 0
		})})
	}
	c.hover(x, r, s.hovers, func(m moment) string { return lookedAt(r, m, values, scale, show) })
	return c
}

// held returns values with the last known value in place of the values not asked for, where most
// were not: a costly gauge is asked only every few looks.
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

// thinned returns at most so many looks: of neighbours the greatest.
func thinned(seconds, values []float64, most int) (fewer, greatest []float64) {
	step := (len(seconds) + most - 1) / most
	if step <= 1 {
		return seconds, values
	}
	for i := 0; i < len(seconds); i += step {
		end := min(i+step, len(seconds))
		fewer, greatest = append(fewer, seconds[i]), append(greatest, slices.Max(values[i:end]))
	}
	return fewer, greatest
}

// lookedAt returns the values of the last look in a moment.
func lookedAt(r *reports.Run, m moment, values map[string][]float64, scale float64,
	show string) string {
	var texts []string
	for _, class := range slices.Sorted(maps.Keys(values)) {
		for i := len(r.Looks.Seconds) - 1; i >= 0; i-- {
			if at := r.Looks.Seconds[i]; at < m.from+m.seconds {
				if v := values[class][i]; v >= 0 && at >= 0 {
					texts = append(texts, class+" "+unit.Number(v*scale)+show)
				}
				break
			}
		}
	}
	return strings.Join(texts, ", ")
}

// lagChart is the consumer's lag, as seen by the lab and perhaps by a Prometheus.
func lagChart(r *reports.Run, s size) *chart {
	return looksChart(r, s, "Records that the consumer has not committed yet", 1, " records",
		map[string]*reports.Gauge{"lag": r.Looks.Gauge("consumer", reports.GaugeLag),
			"prometheus": r.Looks.Gauge("prometheus", reports.GaugeLag)})
}

// recordsChart shows the offered records beside the records that came to the topics and the records
// committed by the group.
func recordsChart(r *reports.Run, s size) *chart {
	produced, consumed := r.Looks.Gauge("consumer", reports.GaugeProduced),
		r.Looks.Gauge("consumer", reports.GaugeConsumed)
	if produced == nil || consumed == nil {
		return nil
	}
	offered := &reports.Gauge{}
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
		map[string]*reports.Gauge{"offered": offered, "produced": produced, "consumed": consumed})
}

// drawnComponents have a colour each.
var drawnComponents = []string{"postgres", "connector", "kafka", "consumer", "mongo", "generator",
	"lab", "host"}

// usage is a kind of gauge of all components over time.
type usage struct {
	Title  string
	Charts []*chart
}

// usages are the usages with anything seen.
func usages(r *reports.Run) (all []usage) {
	const kibi, mebi = 1.0 / (1 << 10), 1.0 / (1 << 20)
	for _, u := range []struct {
		title, gauge, unit string
		scale              float64
	}{
		{"Processor use in per cent of one core", reports.GaugeCPU, " %", 1},
		{"Resident memory in MiB", reports.GaugeMemory, " MiB", mebi},
		{"Heap in MiB", reports.GaugeHeap, " MiB", mebi},
		{"Connections: open ones of a server, those in use of a pool",
			reports.GaugeConnections, "", 1},
		{"Commits a second", reports.GaugeCommits, "/s", 1},
		{"Blocks a second that were not in PostgreSQL's shared buffers",
			reports.GaugeBlocksRead, "/s", 1},
		{"Blocks a second that were in PostgreSQL's shared buffers",
			reports.GaugeBlocksHit, "/s", 1},
		{"Written to PostgreSQL's log in KiB/s", reports.GaugeWAL, " KiB/s", kibi},
		{"Read from disk in KiB/s", reports.GaugeDiskRead, " KiB/s", kibi},
		{"Written to disk in KiB/s", reports.GaugeDiskWrite, " KiB/s", kibi},
		{"The busiest disk in per cent of the time", reports.GaugeDiskBusy, " %", 1},
		{"Sent over the network in KiB/s, the loopback included",
			reports.GaugeNetworkSent, " KiB/s", kibi},
		{"Received over the network in KiB/s, the loopback included",
			reports.GaugeNetworkReceived, " KiB/s", kibi},
	} {
		gauges := map[string]*reports.Gauge{}
		for _, component := range drawnComponents {
			// the host is all of the others
			if component != "host" || u.gauge != reports.GaugeCPU &&
				u.gauge != reports.GaugeMemory {
				gauges[component] = r.Looks.Gauge(component, u.gauge)
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
