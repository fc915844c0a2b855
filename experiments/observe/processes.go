package observe

import (
	"context"
	"iter"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// usage adds up what the processes of each component used, each by its number, and the use by their
// control groups. A process that dies between two samples keeps the last numbers seen.
type usage struct {
	cpuSeconds map[string]map[string]float64
	firstCPU   map[string]float64
	maxRSS     map[string]int64
}

// spent files the processor time used by a process or a control group of a component since its
// start.
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
		all = append(all, reports.Resource{
			Component: name, MaxRSSBytes: u.maxRSS[name], CPUSeconds: sumOf(pids),
		})
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

// processes samples the processes of the components, of the generator, and of the lab.
type processes struct {
	// pids are the processes of each component, now.
	pids   func() map[string][]int
	host   capacities
	groups controlGroups
}

func (p processes) close() {}

func (p processes) sample(_ context.Context, s *Sampler) {
	for name, pids := range p.pids() {
		if len(pids) > 0 {
			p.component(s, name, pids)
		}
	}
	p.component(s, labComponent, []int{os.Getpid()})
}

// component adds up the processes of a component. Processes in another control group than the
// lab's, as in a container, have the group's numbers, because a group also knows ended processes.
func (p processes) component(s *Sampler, name string, pids []int) {
	var used, read, written float64
	u := &s.used
	grouped := map[string]bool{}
	for pid, one := range running(pids) {
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
	s.putRate(name, reports.GaugeCPU, "%", p.host.cpuPercent, 100, sumOf(u.cpuSeconds[name]))
	s.put(name, reports.GaugeMemory, "bytes", p.host.memoryOf(pids[0]), used)
	s.putRate(name, reports.GaugeDiskRead, "bytes/s", 0, 1, read)
	s.putRate(name, reports.GaugeDiskWrite, "bytes/s", 0, 1, written)
}

// containers samples the components that are containers, by the engine's numbers.
type containers struct {
	components func() []stack.Component
	host       capacities
}

func (containers) close() {}

// measured is a stack.Component with an engine that counts for it.
type measured interface {
	stack.Component
	Usage(ctx context.Context) (stack.Usage, error)
}

// sample asks for all containers at once: an answer takes the engine some time.
func (c containers) sample(ctx context.Context, s *Sampler) {
	var asked []measured
	for _, one := range c.components() {
		if one, is := one.(measured); is {
			asked = append(asked, one)
		}
	}
	answers := make([]stack.Usage, len(asked))
	var looks sync.WaitGroup
	for n, one := range asked {
		looks.Go(func() { answers[n], _ = one.Usage(ctx) }) // a paused part has no numbers
	}
	looks.Wait()
	for n, one := range asked {
		if answers[n].MemoryBytes > 0 {
			c.component(s, one.Name(), answers[n])
		}
	}
}

func (c containers) component(s *Sampler, name string, used stack.Usage) {
	u := &s.used
	u.spent(name, name+used.Started, used.CPUSeconds)
	u.maxRSS[name] = max(u.maxRSS[name], int64(used.MemoryBytes))
	s.putRate(name, reports.GaugeCPU, "%", c.host.cpuPercent, 100, sumOf(u.cpuSeconds[name]))
	s.put(name, reports.GaugeMemory, "bytes", used.MemoryLimit, used.MemoryBytes)
	s.putRate(name, reports.GaugeDiskRead, "bytes/s", 0, 1, used.DiskReadBytes)
	s.putRate(name, reports.GaugeDiskWrite, "bytes/s", 0, 1, used.DiskWritten)
}

// running yields the processes that still run, by number.
func running(pids []int) iter.Seq2[int, *process.Process] {
	return func(yield func(int, *process.Process) bool) {
		for _, pid := range pids {
			if p, err := process.NewProcess(int32(pid)); err == nil && !yield(pid, p) {
				return
			}
		}
	}
}

// CPUSeconds returns the processor time of processes since each began; an ended process has none.
func CPUSeconds(pids []int) (seconds float64) {
	for _, p := range running(pids) {
		if times, err := p.Times(); err == nil {
			seconds += times.User + times.System
		}
	}
	return seconds
}

// RSS is the resident memory of processes, in bytes.
func RSS(pids []int) (bytes int64) {
	for _, p := range running(pids) {
		if memory, err := p.MemoryInfo(); err == nil {
			bytes += int64(memory.RSS)
		}
	}
	return bytes
}
