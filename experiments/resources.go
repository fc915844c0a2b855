package experiments

import (
	"context"
	"os"
	"sort"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// labProcess names this process in the resources: Kafka and the connector of the embedded stack
// live in it.
const labProcess = "lab (kafka, connector)"

// meter adds up what the processes of each component used, a look a second. A process that dies
// between two looks keeps what was seen of it.
type meter struct {
	cpuSeconds map[string]map[int]float64
	firstCPU   map[int]float64
	maxRSS     map[string]int64
}

func newMeter() *meter {
	return &meter{map[string]map[int]float64{}, map[int]float64{}, map[string]int64{}}
}

// watch looks once a second until the context ends, and once more then.
func (m *meter) watch(ctx context.Context, components func() []stack.Component) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for _, c := range components() {
			m.look(c.Name(), c.PIDs())
		}
		m.look(labProcess, []int{os.Getpid()})
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *meter) look(name string, pids []int) {
	var rss int64
	for _, pid := range pids {
		p, err := process.NewProcess(int32(pid))
		if err != nil {
			continue
		}
		if memory, err := p.MemoryInfo(); err == nil {
			rss += int64(memory.RSS)
		}
		times, err := p.Times()
		if err != nil {
			continue
		}
		used := times.User + times.System
		if _, seen := m.firstCPU[pid]; !seen {
			m.firstCPU[pid] = used
		}
		if m.cpuSeconds[name] == nil {
			m.cpuSeconds[name] = map[int]float64{}
		}
		m.cpuSeconds[name][pid] = used - m.firstCPU[pid]
	}
	m.maxRSS[name] = max(m.maxRSS[name], rss)
}

func (m *meter) resources() []reports.Resource {
	var all []reports.Resource
	for name, pids := range m.cpuSeconds {
		r := reports.Resource{Component: name, MaxRSSBytes: m.maxRSS[name]}
		for _, seconds := range pids {
			r.CPUSeconds += seconds
		}
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Component < all[j].Component })
	return all
}
