package experiments

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/cdclab/cdclab/reports"
)

// describeHost says which machine this is. The fingerprint is what makes two machines comparable:
// system, processor model, cores and memory in GiB; not the name, the kernel or the address.
func describeHost() reports.Host {
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
	text := fmt.Sprintf("%s/%s/%s/%d/%d", h.OS, h.Arch, h.CPUModel, h.Cores, (h.MemoryBytes+gibibyte/2)/gibibyte)
	sum := sha256.Sum256([]byte(text))
	h.Fingerprint = hex.EncodeToString(sum[:6])
	return h
}

// cpuTimes are the host's processor times since boot, in seconds summed over all cores.
type cpuTimes struct{ total, idle, steal float64 }

func readCPU() cpuTimes {
	times, err := cpu.Times(false)
	if err != nil || len(times) == 0 {
		return cpuTimes{}
	}
	t := times[0]
	total := t.User + t.System + t.Idle + t.Nice + t.Iowait + t.Irq + t.Softirq + t.Steal
	return cpuTimes{total, t.Idle + t.Iowait, t.Steal}
}

// since is the share of the time between two readings that was busy, and that the hypervisor gave
// to others, in per cent of all cores.
func (t cpuTimes) since(before cpuTimes) (busyPercent, stealPercent float64) {
	total := t.total - before.total
	if total <= 0 {
		return 0, 0
	}
	return 100 * (1 - (t.idle-before.idle)/total), 100 * (t.steal - before.steal) / total
}
