package observe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"

	"github.com/cdclab/cdclab/reports"
)

// DescribeHost describes this machine. The fingerprint makes two machines comparable: system,
// processor model, cores and memory in GiB; not the name, the kernel or the address.
func DescribeHost() reports.Host {
	h := reports.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU()}
	if infos, err := cpu.Info(); err == nil && len(infos) > 0 {
		h.CPUModel = infos[0].ModelName
	}
	if memory, err := mem.VirtualMemory(); err == nil {
		h.MemoryBytes = int64(memory.Total)
	}
	if kernel, err := host.KernelVersion(); err == nil {
		h.Kernel = kernel
	}
	const gibibyte = 1 << 30
	text := fmt.Sprintf("%s/%s/%s/%d/%d",
		h.OS, h.Arch, h.CPUModel, h.Cores, (h.MemoryBytes+gibibyte/2)/gibibyte)
	sum := sha256.Sum256([]byte(text))
	h.Fingerprint = hex.EncodeToString(sum[:6])
	return h
}

// CPUTimes are the host's processor times since boot, in seconds summed over all cores.
type CPUTimes struct{ total, idle, steal float64 }

// ReadCPU reads the times of now, all 0 where the system does not tell.
func ReadCPU() CPUTimes {
	times, err := cpu.Times(false)
	if err != nil || len(times) == 0 {
		return CPUTimes{}
	}
	t := times[0]
	total := t.User + t.System + t.Idle + t.Nice + t.Iowait + t.Irq + t.Softirq + t.Steal
	return CPUTimes{total, t.Idle + t.Iowait, t.Steal}
}

// Busy returns the processors' working time.
func (t CPUTimes) Busy() float64 { return t.total - t.idle }

// Since returns the busy share of the time between two readings, and the share that the hypervisor
// gave to others, in per cent of all cores.
func (t CPUTimes) Since(before CPUTimes) (busyPercent, stealPercent float64) {
	total := t.total - before.total
	if total <= 0 {
		return 0, 0
	}
	return 100 * (1 - (t.idle-before.idle)/total), 100 * (t.steal - before.steal) / total
}

// capacities are the machine's.
type capacities struct {
	// cpuPercent is the capacity of all cores, in per cent of a single core.
	cpuPercent, memoryBytes float64
}

func machineCapacities() capacities {
	c := capacities{cpuPercent: 100 * float64(runtime.NumCPU())}
	if memory, err := mem.VirtualMemory(); err == nil {
		c.memoryBytes = float64(memory.Total)
	}
	return c
}

// memoryOf returns the memory that a process may use: the machine's, or the process's control
// group's limit where the limit is less, as in a container.
func (c capacities) memoryOf(pid int) float64 {
	if most, limited := hostGroups.number(hostGroups.of(pid), "memory.max", ""); limited {
		return min(most, c.memoryBytes)
	}
	return c.memoryBytes
}

// hostProbe samples the machine.
type hostProbe struct{ host capacities }

func (p hostProbe) close() {}

func (p hostProbe) sample(ctx context.Context, s *Sampler) {
	cpu := ReadCPU()
	s.putRate(hostComponent, reports.GaugeCPU, "%", p.host.cpuPercent, 100, cpu.Busy())
	s.putRate(hostComponent, reports.GaugeSteal, "%", p.host.cpuPercent, 100, cpu.steal)
	if memory, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		used := memory.Total - memory.Available
		s.put(hostComponent, reports.GaugeMemory, "bytes", float64(memory.Total), float64(used))
	}
	if counters, err := net.IOCountersWithContext(ctx, false); err == nil && len(counters) == 1 {
		sent, received := float64(counters[0].BytesSent), float64(counters[0].BytesRecv)
		s.putRate(hostComponent, reports.GaugeNetworkSent, "bytes/s", 0, 1, sent)
		s.putRate(hostComponent, reports.GaugeNetworkReceived, "bytes/s", 0, 1, received)
	}
	if devices, err := disk.IOCountersWithContext(ctx); err == nil {
		sampleDisks(s, devices)
	}
}

// sampleDisks files the rate of the disk that is the busiest now.
func sampleDisks(s *Sampler, devices map[string]disk.IOCountersStat) {
	busiest, known := 0.0, false
	for name, d := range devices {
		// IoTime is in milliseconds: a second of IoTime in a second is 100 %.
		key := gaugeName{hostComponent, reports.GaugeDiskBusy + " " + name}
		if rate, ok := s.rate(key, float64(d.IoTime)); ok {
			busiest, known = max(busiest, 0.1*rate), true
		}
	}
	if known {
		s.put(hostComponent, reports.GaugeDiskBusy, "%", 100, busiest)
	}
}
