package observe

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// controlGroups are the processes' control groups, by cgroup v2: proc is /proc, root
// /sys/fs/cgroup.
type controlGroups struct{ proc, root string }

var hostGroups = controlGroups{"/proc", "/sys/fs/cgroup"}

// of returns the group of a process, "" where the group is not known.
func (c controlGroups) of(pid int) string {
	text, err := os.ReadFile(filepath.Join(c.proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if group, found := strings.CutPrefix(line, "0::"); found {
			return strings.TrimSpace(group)
		}
	}
	return ""
}

// apart returns the group of a process outside the lab's own group, as in a container, else "".
func (c controlGroups) apart(pid int) string {
	if group := c.of(pid); group != "/" && group != c.of(os.Getpid()) {
		return group
	}
	return ""
}

// number reads a file of a group: the number alone, or the number behind key.
func (c controlGroups) number(group, file, key string) (float64, bool) {
	text, err := os.ReadFile(filepath.Join(c.root, group, file))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, key); found {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return number, err == nil // a limit may be "max"
		}
	}
	return 0, false
}

// cpuSeconds returns the processor time used by a group.
func (c controlGroups) cpuSeconds(group string) (float64, bool) {
	used, ok := c.number(group, "cpu.stat", "usage_usec ")
	return used / 1e6, ok
}

// memory returns the memory in use by a group, without the part of the page cache that the kernel
// would give away first.
func (c controlGroups) memory(group string) (float64, bool) {
	current, ok := c.number(group, "memory.current", "")
	inactive, _ := c.number(group, "memory.stat", "inactive_file ")
	return max(0, current-inactive), ok
}
