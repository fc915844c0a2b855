package observe

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/disk"

	"github.com/cdclab/cdclab/reports"
)

// writeFiles writes files by their paths below a new folder.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestGroupOfItsOwn: processes in another control group than the lab's have the group's numbers,
// once for all; processes beside the lab have their own.
func TestGroupOfItsOwn(t *testing.T) {
	self, other := os.Getpid(), os.Getppid()
	dir := writeFiles(t, map[string]string{
		fmt.Sprintf("proc/%d/cgroup", self):  "4:memory:/old\n0::/user.slice/lab.scope\n",
		fmt.Sprintf("proc/%d/cgroup", other): "0::/box\n",
		"proc/1/cgroup":                      "0::/box\n",
		"group/box/cpu.stat":                 "usage_usec 3000000\nuser_usec 1000000\n",
		"group/box/memory.current":           "5000\n",
		"group/box/memory.stat":              "anon 3000\nactive_file 1000\ninactive_file 1000\n",
		"group/box/memory.max":               "max\n",
	})
	groups := controlGroups{filepath.Join(dir, "proc"), filepath.Join(dir, "group")}
	if _, limited := groups.number("/box", "memory.max", ""); limited || groups.apart(self) != "" ||
		groups.apart(1<<30) != "" {
		t.Errorf("limited %t, of the lab %q", limited, groups.apart(self))
	}
	l := samplerOf(processes{func() map[string][]int {
		return map[string][]int{"postgres": {1, other}}
	}, capacities{200, 1e9}, groups})
	l.sample()
	if err := os.WriteFile(filepath.Join(dir, "group/box/cpu.stat"), []byte("usage_usec 4500000\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	l.sample()
	if memory := l.gauges[gaugeName{"postgres", reports.GaugeMemory}]; memory.Values[1] != 4000 {
		t.Errorf("%+v, want 4000 bytes", memory)
	}
	if memory := l.gauges[gaugeName{labComponent, reports.GaugeMemory}]; memory.Values[1] < 1<<20 {
		t.Errorf("%+v: not the lab's own", memory)
	}
	for _, used := range l.used.resources() {
		if used.Component == "postgres" && used.CPUSeconds != 1.5 {
			t.Errorf("%+v, want 1.5 s", used)
		}
	}
}

// TestBusiestDiskIsTheBusiestNow: a disk much used since the machine was booted may be idle.
func TestBusiestDiskIsTheBusiestNow(t *testing.T) {
	second := 0
	l := samplerOf(scripted(func(l *Sampler) {
		second++
		l.at[len(l.at)-1] = time.Unix(int64(second), 0)
		sampleDisks(l, map[string]disk.IOCountersStat{
			"old": {IoTime: 9e6}, "new": {IoTime: uint64(700 * second)}, "idle": {IoTime: 5},
		})
	}))
	l.sample()
	l.sample()
	if busy := l.gauges[gaugeName{hostComponent, reports.GaugeDiskBusy}]; busy == nil ||
		busy.Values[1] != 70 || busy.Capacity != 100 || len(l.gauges) != 1 {
		t.Errorf("%+v, want 70 %% and one gauge of %v", busy, l.gauges)
	}
}
