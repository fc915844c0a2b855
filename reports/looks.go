package reports

import "slices"

// Looks are the observations of the parts beside the load, at a look every second or few.
type Looks struct {
	// Seconds is the offset of each look after TestRun.StartTime; looks before StartTime, in the
	// warmup, are negative.
	Seconds []float64 `json:"seconds" number:"any"`
	// Gauges have a value for each look.
	Gauges []Gauge `json:"gauges"`
}

// Gauge is a measurement of a component over the Run.
type Gauge struct {
	// Component is a part of the stack, "generator", "lab" (this process), or "host".
	Component string `json:"component"`
	// Name is a constant from the list below; GaugeLag may have a topic and partition behind the
	// name.
	Name string `json:"name"`
	// Unit is "%", "bytes", "bytes/s", "/s", "ms", or "" for a number of things.
	Unit string `json:"unit"`
	// Capacity is the greatest possible value, in Unit; 0: not known.
	Capacity float64 `json:"capacity"`
	// Values has a value for each of Looks.Seconds; -1 where a look failed.
	Values []float64 `json:"values" number:"-1"`
}

// Names of gauges.
const (
	// GaugeCPU is in per cent of one core; the Capacity counts all cores.
	GaugeCPU = "cpu"
	// GaugeMemory is the resident memory; its Capacity is the machine's, or the control group's
	// limit.
	GaugeMemory = "memory"
	// GaugeHeap is the memory in use by the program's own allocator.
	GaugeHeap = "heap"
	// GaugeDiskRead and GaugeDiskWrite count bytes at the block devices: nothing, on tmpfs.
	GaugeDiskRead  = "disk read"
	GaugeDiskWrite = "disk write"
	// GaugeDiskBusy is the host's busiest disk, of the time.
	GaugeDiskBusy = "disk busy"
	// GaugeNetworkSent and GaugeNetworkReceived count bytes through the host's network interfaces,
	// the loopback's included.
	GaugeNetworkSent     = "network sent"
	GaugeNetworkReceived = "network received"
	// GaugeSteal is the host's processor time taken by other machines.
	GaugeSteal = "steal"
	// GaugeConnections are the open connections of a server, or the used connections of a pool.
	GaugeConnections = "connections"
	// GaugeCommits are PostgreSQL's transactions, GaugeBlocksRead the blocks PostgreSQL had to
	// read, GaugeBlocksHit the blocks found in the shared buffers, GaugeWAL the bytes written to
	// PostgreSQL's log; each a second.
	GaugeCommits    = "commits"
	GaugeBlocksRead = "blocks read"
	GaugeBlocksHit  = "blocks hit"
	GaugeWAL        = "wal"
	// GaugeData is the size of the data.
	GaugeData = "data"
	// GaugeLag is the number of records not committed by the consumer's group, of a partition
	// with " <topic>/<partition>" behind the name.
	GaugeLag = "lag"
	// GaugeProduced and GaugeConsumed are records per second, written to the topics and committed
	// by the group.
	GaugeProduced = "produced"
	GaugeConsumed = "consumed"
)

// longestLook is how many seconds a look at a stage may lie after its records.
const longestLook = 10

// The gauges of a stage hold the latency of the records since the look before.
const (
	GaugeMean = "mean"
	GaugeP99  = "p99"
)

// StageGauge returns the name of a gauge of the consumer, in milliseconds: of a stage such as
// ConsumerToApplied, with GaugeMean or GaugeP99.
func StageGauge(stage, of string) string { return "stage " + stage + " " + of }

// Gauge finds a gauge, nil for none.
func (l *Looks) Gauge(component, name string) *Gauge {
	for i := range l.Gauges {
		if g := &l.Gauges[i]; g.Component == component && g.Name == name {
			return g
		}
	}
	return nil
}

// DuringLoad are a gauge's known values while the measured load ran, with their seconds.
func (r *Run) DuringLoad(g *Gauge) (seconds, values []float64) {
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

// GaugeBetween returns the mean of the consumer's gauge at the looks after from, up to the first at
// or after to, in seconds: a look covers the time before, at most ten seconds. 0 without a value.
func (r *Run) GaugeBetween(name string, from, to float64) float64 {
	seconds, values := r.DuringLoad(r.Looks.Gauge("consumer", name))
	var known []float64
	for i, at := range seconds {
		if at > from && at < to+longestLook {
			known = append(known, values[i])
		}
		if at >= to {
			break
		}
	}
	return mean(known)
}

// MeanDuringLoad returns the mean of a gauge's known values while the measured load ran; known is
// false for a nil gauge, or one without a value.
func (r *Run) MeanDuringLoad(g *Gauge) (value float64, known bool) {
	_, values := r.DuringLoad(g)
	return mean(values), len(values) > 0
}

// sustained is the value exceeded by a tenth of the looks: a short peak does not count.
func sustained(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)*9/10]
}
