package experiments

import (
	"context"
	"os"
	"slices"
	"sort"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/reports"
)

// Components of the looks that are no part of the stack.
const (
	generatorComponent = "generator"
	hostComponent      = "host"
	// labComponent is this process.
	labComponent = "lab"
)

// lookEvery is the time between two looks; mostLooks bounds a Run's: then every other one is dropped,
// and half as many are made.
const (
	lookEvery = time.Second
	mostLooks = 1200
)

// seldomEvery is how many looks there are for each question that costs an answer: sizes, a whole page of
// metrics.
const seldomEvery = 5

// looker looks at the parts beside the load: what their processes use, and what probes ask them.
type looker struct {
	at     []time.Time
	gauges map[gaugeName]*reports.Gauge
	// totals are the last values of what only grows, from which a rate is made.
	totals map[gaugeName]total
	probes []probe
	// seldom are asked every seldomEvery looks only, because an answer costs the one who is asked.
	seldom []probe
	used   usage
	// lag is the consumer's in the last look, -1 while it is not known.
	lag atomic.Int64
	// made are the looks so far, also those that were dropped again.
	made int
}

func (l *looker) lagNow() float64 { return float64(l.lag.Load()) }

type gaugeName struct{ component, name string }

type total struct {
	value float64
	at    time.Time
}

// probe asks something; what it cannot find out is missing in that look.
type probe interface {
	look(ctx context.Context, l *looker)
	close()
}

func newLooker(probes ...probe) *looker {
	l := &looker{
		gauges: map[gaugeName]*reports.Gauge{}, totals: map[gaugeName]total{}, probes: probes,
		used: usage{map[string]map[string]float64{}, map[string]float64{}, map[string]int64{}},
	}
	l.lag.Store(-1)
	return l
}

// watch looks until the context ends, and once more then.
func (l *looker) watch(ctx context.Context) {
	every := lookEvery
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		l.look()
		if len(l.at) >= mostLooks {
			l.thin()
			every *= 2
			tick.Reset(every)
		}
		select {
		case <-ctx.Done():
			l.look()
			for _, p := range slices.Concat(l.probes, l.seldom) {
				p.close()
			}
			return
		case <-tick.C:
		}
	}
}

// look makes one look; a part that does not answer must not hold up the next one.
func (l *looker) look() {
	ctx, cancel := context.WithTimeout(context.Background(), lookEvery*9/10)
	defer cancel()
	l.at = append(l.at, time.Now())
	for _, p := range l.probes {
		p.look(ctx, l)
	}
	if l.made++; l.made%seldomEvery == 1 {
		for _, p := range l.seldom {
			p.look(ctx, l)
		}
	}
	for _, g := range l.gauges {
		if len(g.Values) < len(l.at) {
			g.Values = append(g.Values, -1)
		}
	}
}

// put files a value of the look that is going on; a second one of the same name is added to it.
func (l *looker) put(component, name, unit string, capacity, value float64) {
	key := gaugeName{component, name}
	g := l.gauges[key]
	if g == nil {
		g = &reports.Gauge{Component: component, Name: name, Unit: unit}
		for range len(l.at) - 1 {
			g.Values = append(g.Values, -1)
		}
		l.gauges[key] = g
	}
	if len(g.Values) == len(l.at) {
		g.Values[len(g.Values)-1] += value
		g.Capacity += capacity
		return
	}
	g.Values, g.Capacity = append(g.Values, value), capacity
}

// putRate files by how much a total grew a second since the last look; times scales it.
func (l *looker) putRate(component, name, unit string, capacity, times, value float64) {
	if rate, ok := l.rate(gaugeName{component, name}, value); ok {
		l.put(component, name, unit, capacity, times*rate)
	}
}

// rate is by how much a total grew a second since the last look. One that shrank, of a part that was
// started anew, says nothing.
func (l *looker) rate(key gaugeName, value float64) (rate float64, ok bool) {
	before, known := l.totals[key]
	now := l.at[len(l.at)-1]
	l.totals[key] = total{value, now}
	if seconds := now.Sub(before.at).Seconds(); known && value >= before.value && seconds > 0 {
		return (value - before.value) / seconds, true
	}
	return 0, false
}

// thin drops every other look.
func (l *looker) thin() {
	halve := func(i int) bool { return i%2 == 1 }
	l.at = dropped(l.at, halve)
	for _, g := range l.gauges {
		g.Values = dropped(g.Values, halve)
	}
}

func dropped[T any](all []T, drop func(i int) bool) []T {
	kept := all[:0]
	for i, v := range all {
		if !drop(i) {
			kept = append(kept, v)
		}
	}
	return kept
}

// looks are all of them, their seconds counted from the start of the measured load.
func (l *looker) looks(start time.Time) reports.Looks {
	var all reports.Looks
	for _, at := range l.at {
		all.Seconds = append(all.Seconds, at.Sub(start).Round(time.Millisecond).Seconds())
	}
	for _, g := range l.gauges {
		all.Gauges = append(all.Gauges, *g)
	}
	sort.Slice(all.Gauges, func(i, j int) bool {
		a, b := all.Gauges[i], all.Gauges[j]
		return a.Component+"\x00"+a.Name < b.Component+"\x00"+b.Name
	})
	return all
}

// usage adds up what the processes of each component used, each by its number, and what their control
// groups did. A process that dies between two looks keeps what was seen of it.
type usage struct {
	cpuSeconds map[string]map[string]float64
	firstCPU   map[string]float64
	maxRSS     map[string]int64
}

// spent files the processor time that a process or a control group of a component has used since it began.
func (u *usage) spent(component, who string, seconds float64) {
	if _, seen := u.firstCPU[who]; !seen {
		u.firstCPU[who] = seconds
	}
	if u.cpuSeconds[component] == nil {
		u.cpuSeconds[component] = map[string]float64{}
	}
	u.cpuSeconds[component][who] = seconds - u.firstCPU[who]
}

func (u *usage) resources() []reports.Resource {
	var all []reports.Resource
	for name, pids := range u.cpuSeconds {
		all = append(all, reports.Resource{Component: name, MaxRSSBytes: u.maxRSS[name], CPUSeconds: sumOf(pids)})
	}
	slices.SortFunc(all, func(a, b reports.Resource) int {
		if a.Component < b.Component {
			return -1
		}
		return 1
	})
	return all
}

func sumOf(seconds map[string]float64) (sum float64) {
	for _, s := range seconds {
		sum += s
	}
	return sum
}

// processes looks at the components' processes, at the generator's, and at this one.
type processes struct {
	// pids are those of each component, now.
	pids   func() map[string][]int
	host   capacities
	groups controlGroups
}

func (p processes) close() {}

func (p processes) look(_ context.Context, l *looker) {
	for name, pids := range p.pids() {
		if len(pids) > 0 {
			p.component(l, name, pids)
		}
	}
	p.component(l, labComponent, []int{os.Getpid()})
}

// component adds up its processes. Those in a control group of their own, as in a container, have that
// group's numbers, which know also what has ended.
func (p processes) component(l *looker, name string, pids []int) {
	var used, read, written float64
	u := &l.used
	grouped := map[string]bool{}
	for _, pid := range pids {
		one, err := process.NewProcess(int32(pid))
		if err != nil {
			continue
		}
		if disk, err := one.IOCounters(); err == nil {
			read, written = read+float64(disk.DiskReadBytes), written+float64(disk.DiskWriteBytes)
		}
		group := p.groups.apart(pid)
		if grouped[group] {
			continue
		}
		seconds, hasCPU := p.groups.cpuSeconds(group)
		if memory, hasMemory := p.groups.memory(group); group != "" && hasCPU && hasMemory {
			grouped[group] = true
			used += memory
			u.spent(name, group, seconds)
			continue
		}
		if memory, err := one.MemoryInfo(); err == nil {
			used += float64(memory.RSS)
		}
		if times, err := one.Times(); err == nil {
			u.spent(name, strconv.Itoa(pid), times.User+times.System)
		}
	}
	u.maxRSS[name] = max(u.maxRSS[name], int64(used))
	l.putRate(name, reports.GaugeCPU, "%", p.host.cpuPercent, 100, sumOf(u.cpuSeconds[name]))
	l.put(name, reports.GaugeMemory, "bytes", p.host.memoryOf(pids[0]), used)
	l.putRate(name, reports.GaugeDiskRead, "bytes/s", 0, 1, read)
	l.putRate(name, reports.GaugeDiskWrite, "bytes/s", 0, 1, written)
}
