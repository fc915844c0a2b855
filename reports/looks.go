package reports

import (
	"fmt"
	"slices"
)

// Looks are what was seen of the parts beside the load, at a look every second or few.
type Looks struct {
	// Seconds is the offset of each look after TestRun.StartTime; those before it, of the warmup, are
	// negative.
	Seconds []float64 `json:"seconds"`
	// Gauges have one value for each look.
	Gauges []Gauge `json:"gauges"`
}

// Gauge is one measurement of one component over the Run.
type Gauge struct {
	// Component is a part of the stack, "generator", "lab" (this process), or "host".
	Component string `json:"component"`
	// Name is one of the constants below; of GaugeLag with a topic and partition behind it.
	Name string `json:"name"`
	// Unit is "%", "bytes", "bytes/s", "/s", "ms", or "" for a number of things.
	Unit string `json:"unit"`
	// Capacity is the greatest value there can be, in Unit; 0: none that is known.
	Capacity float64 `json:"capacity"`
	// Values, one for each of Looks.Seconds; -1 where a look failed.
	Values []float64 `json:"values"`
}

// Names of gauges.
const (
	// GaugeCPU is in per cent of one core; its Capacity is that of all cores.
	GaugeCPU = "cpu"
	// GaugeMemory is the resident memory; its Capacity is the machine's, or the control group's limit.
	GaugeMemory = "memory"
	// GaugeHeap is the memory that the program's own allocator has in use.
	GaugeHeap = "heap"
	// GaugeDiskRead and GaugeDiskWrite are what reaches the block devices: nothing, on tmpfs.
	GaugeDiskRead  = "disk read"
	GaugeDiskWrite = "disk write"
	// GaugeDiskBusy is the host's busiest disk, of the time.
	GaugeDiskBusy = "disk busy"
	// GaugeNetworkSent and GaugeNetworkReceived are what went through the host's network interfaces, the
	// loopback's included.
	GaugeNetworkSent     = "network sent"
	GaugeNetworkReceived = "network received"
	// GaugeSteal is the host's processor time that other machines took.
	GaugeSteal = "steal"
	// GaugeConnections are the open connections of a server, or those in use of a pool.
	GaugeConnections = "connections"
	// GaugeCommits are PostgreSQL's transactions, GaugeBlocksRead and GaugeBlocksHit the blocks that it had to
	// read and those that its shared buffers had, GaugeWAL what it wrote to its log; each a second.
	GaugeCommits    = "commits"
	GaugeBlocksRead = "blocks read"
	GaugeBlocksHit  = "blocks hit"
	GaugeWAL        = "wal"
	// GaugeData is the size of the data.
	GaugeData = "data"
	// GaugeLag is how many records the consumer's group has not committed; with " <topic>/<partition>"
	// behind it, those of a partition.
	GaugeLag = "lag"
	// GaugeProduced and GaugeConsumed are records per second, written to the topics and committed by
	// the group.
	GaugeProduced = "produced"
	GaugeConsumed = "consumed"
)

// gauge finds a gauge, nil for none.
func (l *Looks) gauge(component, name string) *Gauge {
	i := slices.IndexFunc(l.Gauges, func(g Gauge) bool { return g.Component == component && g.Name == name })
	if i < 0 {
		return nil
	}
	return &l.Gauges[i]
}

// duringLoad are a gauge's known values while the measured load ran, with their seconds.
func (r *Run) duringLoad(g *Gauge) (seconds, values []float64) {
	if g == nil {
		return nil, nil
	}
	for i, at := range r.Looks.Seconds {
		if at >= 0 && at <= r.TestRun.DurationSeconds && g.Values[i] >= 0 {
			seconds, values = append(seconds, at), append(values, g.Values[i])
		}
	}
	return seconds, values
}

// sustained is the value that a tenth of the looks were above: a short peak is none.
func sustained(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)*9/10]
}

// use is one row of section 2.7.6 of the specification: from where a share of a gauge's capacity
// is a warning, and from where it is critical, in per cent.
type use struct {
	gauge, what      string
	warning, crucial float64
}

var uses = []use{
	{GaugeCPU, "processor use", 70, 90},
	{GaugeMemory, "memory use", 70, 85},
	{GaugeDiskBusy, "disk use", 60, 80},
	{GaugeConnections, "connections in use", 80, 95},
}

// resourceLimits are the gauges that have a capacity, each against its critical share.
func (r *Run) resourceLimits() (limits []limit, warnings []string) {
	for _, u := range uses {
		for i := range r.Looks.Gauges {
			g := &r.Looks.Gauges[i]
			if g.Name != u.gauge || g.Capacity <= 0 {
				continue
			}
			_, values := r.duringLoad(g)
			share := 100 * sustained(values) / g.Capacity
			name := u.what + " of " + g.Component
			if u.gauge != GaugeCPU || r.judgesCPU(g.Component) {
				limits = append(limits, limit{name, fmt.Sprintf("< %g %%", u.crucial), share, " %", share < u.crucial})
			}
			if share >= u.warning {
				warnings = append(warnings, fmt.Sprintf("%s was %s %% for a tenth of the time or more; %g %% is worth "+
					"a warning, %g %% is critical", capital(name), number(share), u.warning, u.crucial))
			}
		}
	}
	return limits, warnings
}

// judgesCPU: whether a component's processor use can break its limit. The machine's and the generator's are a
// warning only, because they are not the pipeline's: two cores that carry the pipeline, its databases and the
// generator are at 88 % in sound runs of the native stack, and in a short run a single look is a tenth of all.
// Beyond 97 % the machine makes the Run unknown (hostDoubts). At the breakpoint it is what broke.
func (r *Run) judgesCPU(component string) bool {
	return component != "host" && component != "generator" && r.Breakpoint.Rate == 0
}

// validateLooks: as many values as looks.
func (r *Run) validateLooks() error {
	if !slices.IsSorted(r.Looks.Seconds) {
		return fmt.Errorf("looks.seconds: not in order")
	}
	for i, g := range r.Looks.Gauges {
		path := fmt.Sprintf("looks.gauges[%d]", i)
		if g.Component == "" || g.Name == "" {
			return fmt.Errorf("%s: component %q, name %q, want both", path, g.Component, g.Name)
		}
		if len(g.Values) != len(r.Looks.Seconds) {
			return fmt.Errorf("%s.values: %d of them at %d looks", path, len(g.Values), len(r.Looks.Seconds))
		}
		if err := checkNumbers(path+".", member{"capacity", g.Capacity}); err != nil {
			return err
		}
		for n, v := range g.Values {
			if v != -1 {
				if err := checkNumbers(path+".", member{fmt.Sprintf("values[%d]", n), v}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
